//! Postgres in a container, by testcontainers.

use super::START;
use super::postgres::{Keeper, Postgres};
use std::time::Duration;
use testcontainers::core::{IntoContainerPort as _, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _};

pub(super) async fn start(image: &str) -> Result<Postgres, String> {
    // The port is open to the network for as long as the run lasts.
    let password = format!("{:032x}", rand::random::<u128>());
    let engine = tokio::process::Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output();
    match tokio::time::timeout(Duration::from_secs(5), engine).await {
        Ok(Ok(output)) if output.status.success() => {}
        Ok(Ok(_)) => {
            return Err(
                "the Docker engine is not running; start it, for example with `dockerd`".into(),
            );
        }
        Ok(Err(_)) => return Err("there is no `docker` command".into()),
        Err(_) => return Err("the Docker engine does not answer".into()),
    }
    let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let request = GenericImage::new(name, tag)
        .with_exposed_port(5432.tcp())
        .with_wait_for(WaitFor::seconds(0))
        .with_env_var("POSTGRES_PASSWORD", &password)
        .with_cmd([
            "postgres",
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "autovacuum=off",
        ])
        .with_startup_timeout(START);
    let container = match tokio::time::timeout(START, request.start()).await {
        Ok(Ok(container)) => container,
        Ok(Err(error)) => {
            return Err(format!(
                "the image `{image}` cannot be started ({error}); name another by FACT_POSTGRES_IMAGE, or build one by ci/postgres-image"
            ));
        }
        Err(_) => {
            return Err(format!(
                "the image `{image}` did not start within {} s",
                START.as_secs()
            ));
        }
    };
    let port = container
        .get_host_port_ipv4(5432.tcp())
        .await
        .map_err(|error| error.to_string())?;
    let mut server = Postgres::at(&format!(
        "postgres://postgres:{password}@127.0.0.1:{port}/postgres"
    ))?;
    server.keep(Keeper::Container(Box::new(container)));
    Ok(server)
}
