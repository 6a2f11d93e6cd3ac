//! A Postgres server: found at a URL, in a container, or started from binaries; a template, and clones of it.

use super::START;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What runs the server, where the harness started it.
#[derive(Debug)]
pub(super) enum Keeper {
    Nobody,
    Container(Box<testcontainers::ContainerAsync<testcontainers::GenericImage>>),
    Process(Process),
}

/// A server of our own. Dropped, it is killed and its folder removed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    /// The server's last words, where it has ended by itself.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        Some(format!(
            "the server ended at its start ({status}): {}",
            last_line(&log)
        ))
    }
}

fn last_line(text: &str) -> &str {
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGQUIT ends all of the server's processes at once. One that has ended by itself gave its number back.
        let runs = matches!(self.child.try_wait(), Ok(None));
        if let (true, Ok(pid)) = (runs, i32::try_from(self.child.id())) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGQUIT,
            );
        }
        drop(self.child.wait());
    }
}

/// A server and the name of its seeded template.
#[derive(Debug)]
pub(super) struct Postgres {
    owner: PgConnectOptions,
    address: SocketAddr,
    template: String,
    reader_password: String,
    keeper: Keeper,
    /// A server of our own that does not wait for its disk clones a template in a fifth of the time so.
    copies_files: bool,
}

/// Connections of the harness carry this name.
const APPLICATION: &str = "fact-harness";

impl Postgres {
    pub(super) fn at(url: &str) -> Result<Self, String> {
        let owner: PgConnectOptions = url.parse().map_err(|_| {
            "the URL cannot be read; write `postgres://USER:PASSWORD@HOST:PORT/NAME`".to_owned()
        })?;
        let owner = owner
            .application_name(APPLICATION)
            .ssl_mode(PgSslMode::Disable);
        let address = (owner.get_host(), owner.get_port())
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next());
        let address =
            address.ok_or_else(|| format!("the host `{}` is not known", owner.get_host()))?;
        let template = format!("fact_template_{:08x}", rand::random::<u32>());
        let reader_password = format!("{:032x}", rand::random::<u128>());
        Ok(Self {
            owner,
            address,
            template,
            reader_password,
            keeper: Keeper::Nobody,
            copies_files: false,
        })
    }

    pub(super) fn keep(&mut self, keeper: Keeper) {
        self.keeper = keeper;
    }

    /// Waits for the server, makes the reading role and the template; says the server's version.
    pub(super) async fn seed(&mut self, sql: &str) -> Result<String, String> {
        let mut connection = self.wait().await?;
        let version: String = sqlx::query_scalar("SHOW server_version")
            .fetch_one(&mut connection)
            .await
            .map_err(text)?;
        let major: Option<u32> = version
            .split('.')
            .next()
            .and_then(|major| major.trim().parse().ok());
        let ours = !matches!(self.keeper, Keeper::Nobody);
        self.copies_files = ours && major.is_some_and(|major| major >= 15);
        let role = format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fact_reader') THEN \
             CREATE ROLE fact_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS; END IF; END $$; \
             ALTER ROLE fact_reader PASSWORD '{}'",
            self.reader_password
        );
        connection
            .execute(AssertSqlSafe(role))
            .await
            .map_err(text)?;
        connection
            .execute(AssertSqlSafe(format!("CREATE DATABASE {}", self.template)))
            .await
            .map_err(text)?;
        drop(connection.close().await);
        let mut connection =
            PgConnection::connect_with(&self.owner.clone().database(&self.template))
                .await
                .map_err(text)?;
        connection
            .execute(AssertSqlSafe(sql.to_owned()))
            .await
            .map_err(|error| format!("the data cannot be seeded: {error}"))?;
        drop(connection.close().await);
        Ok(format!("PostgreSQL {version}"))
    }

    async fn wait(&mut self) -> Result<PgConnection, String> {
        let deadline = Instant::now() + START;
        loop {
            if let Keeper::Process(process) = &mut self.keeper
                && let Some(reason) = process.ended()
            {
                return Err(reason);
            }
            match PgConnection::connect_with(&self.owner).await {
                Ok(connection) => return Ok(connection),
                Err(error)
                    if Instant::now() > deadline || matches!(self.keeper, Keeper::Nobody) =>
                {
                    return Err(text(error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub(super) async fn create(&self, name: &str) -> Result<Clone, String> {
        let safe: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .take(40)
            .collect();
        let name = format!("fact_{safe}_{:06x}", rand::random::<u32>() & 0x00ff_ffff);
        let mut connection = PgConnection::connect_with(&self.owner)
            .await
            .map_err(text)?;
        connection
            .execute(AssertSqlSafe(format!(
                "CREATE DATABASE {name} TEMPLATE {}{}",
                self.template,
                if self.copies_files {
                    " STRATEGY FILE_COPY"
                } else {
                    ""
                }
            )))
            .await
            .map_err(text)?;
        connection
            .execute(AssertSqlSafe(format!(
                "REVOKE TEMPORARY, CREATE ON DATABASE {name} FROM PUBLIC"
            )))
            .await
            .map_err(text)?;
        drop(connection.close().await);
        Ok(Clone {
            owner: self.owner.clone(),
            address: self.address,
            name,
            reader_password: self.reader_password.clone(),
        })
    }

    pub(super) async fn stop(self) {
        match self.keeper {
            Keeper::Nobody => {
                if let Ok(mut connection) = PgConnection::connect_with(&self.owner).await {
                    drop(
                        connection
                            .execute(AssertSqlSafe(format!(
                                "DROP DATABASE IF EXISTS {}",
                                self.template
                            )))
                            .await,
                    );
                }
            }
            Keeper::Container(container) => drop(container.rm().await),
            Keeper::Process(process) => drop(process),
        }
    }
}

/// A scenario's own database.
#[derive(Debug)]
pub(super) struct Clone {
    owner: PgConnectOptions,
    address: SocketAddr,
    name: String,
    reader_password: String,
}

impl Clone {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn reader_url(&self, address: SocketAddr) -> String {
        format!(
            "postgres://fact_reader:{}@{address}/{}?sslmode=disable",
            self.reader_password, self.name
        )
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, String> {
        PgConnection::connect_with(&self.owner.clone().database(&self.name))
            .await
            .map_err(text)
    }

    pub(super) async fn execute(&self, statement: &str) -> Result<(), String> {
        let mut connection = self.connect().await?;
        connection
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .map_err(text)?;
        drop(connection.close().await);
        Ok(())
    }

    /// A digest of all rows, relations, functions and large objects.
    pub(super) async fn fingerprint(&self) -> Result<String, String> {
        const OBJECTS: &str = "SELECT coalesce((SELECT string_agg(concat_ws(',', oid, relname, relkind, relacl, relrowsecurity), ';' ORDER BY oid) FROM pg_class WHERE relname !~ '^pg_toast'), '') \
             || coalesce((SELECT string_agg(concat_ws(',', oid, proname, proacl), ';' ORDER BY oid) FROM pg_proc WHERE oid >= 16384), '') \
             || (SELECT count(*) FROM pg_largeobject_metadata)::text";
        const TABLES: &str = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
        let mut connection = self.connect().await?;
        let mut hasher = blake3::Hasher::new();
        let objects: String = sqlx::query_scalar(OBJECTS)
            .fetch_one(&mut connection)
            .await
            .map_err(text)?;
        hasher.update(objects.as_bytes());
        for table in sqlx::query(TABLES)
            .fetch_all(&mut connection)
            .await
            .map_err(text)?
        {
            let table: String = table.get(0);
            let sum = format!(
                "SELECT count(*) || ':' || coalesce(sum(hashtext(t::text)), 0) FROM {table} t"
            );
            let sum: String = sqlx::query_scalar(AssertSqlSafe(sum))
                .fetch_one(&mut connection)
                .await
                .map_err(text)?;
            hasher.update(table.as_bytes());
            hasher.update(sum.as_bytes());
        }
        drop(connection.close().await);
        Ok(hasher.finalize().to_hex().to_string())
    }

    pub(super) async fn give_up(self) {
        if let Ok(mut connection) = PgConnection::connect_with(&self.owner).await {
            drop(
                connection
                    .execute(AssertSqlSafe(format!(
                        "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                        self.name
                    )))
                    .await,
            );
        }
    }
}

fn text(error: sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}

/// Starts a server of our own in a folder of its own. Postgres refuses to run as root: then as another user.
pub(super) fn start_binaries() -> Result<Postgres, String> {
    let binaries = find().ok_or("there are no Postgres binaries on this machine; on Debian and Ubuntu, install the package `postgresql`")?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let user = unprivileged()?;
    let data = folder.path().join("data");
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))
            .map_err(|error| error.to_string())?;
    }
    let command = |program: &str| {
        let mut command = Command::new(binaries.join(program));
        command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    let made = command("initdb")
        .stderr(Stdio::piped())
        .arg("-D")
        .arg(&data)
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ])
        .output()
        .map_err(|error| error.to_string());
    let failed = match made {
        Ok(made) if made.status.success() => None,
        Ok(made) => Some(last_line(&String::from_utf8_lossy(&made.stderr)).to_owned()),
        Err(error) => Some(error),
    };
    if let Some(reason) = failed {
        return Err(format!(
            "`{}` failed: {reason}",
            binaries.join("initdb").display()
        ));
    }
    let port = free_port()?;
    let log =
        std::fs::File::create(folder.path().join("log")).map_err(|error| error.to_string())?;
    let child = command("postgres")
        .stderr(log)
        .arg("-D")
        .arg(&data)
        .args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "autovacuum=off",
        ])
        .arg("-k")
        .arg(folder.path())
        .process_group(0)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut server = Postgres::at(&format!("postgres://postgres@127.0.0.1:{port}/postgres"))?;
    server.keep(Keeper::Process(Process { child, folder }));
    Ok(server)
}

fn free_port() -> Result<u16, String> {
    let listener =
        std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port())
}

/// Whom to become when we are root; nobody else's processes are touched by it.
fn unprivileged() -> Result<Option<(u32, u32)>, String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let known = ["postgres", "nobody"]
        .iter()
        .find_map(|name| nix::unistd::User::from_name(name).ok().flatten());
    let user = known.ok_or(
        "Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody`",
    )?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// On the PATH, then where packages put them, newest first.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for parent in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let mut found: Vec<PathBuf> = std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        found.sort_by_key(|folder| (version(folder), folder.clone()));
        folders.extend(found.into_iter().rev());
    }
    folders.push("/usr/local/pgsql/bin".into());
    let whole = |folder: &&PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|program| is_file(&folder.join(program)))
    };
    // A link may stand alone on the PATH: the other programs are where it leads.
    folders.iter().find(whole).map(|folder| {
        std::fs::canonicalize(folder.join("postgres"))
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .unwrap_or_else(|| folder.clone())
    })
}

/// The first number in a path: 9 of `9.6`, 17 of `postgresql@17`.
fn version(path: &Path) -> u32 {
    let text = path.to_string_lossy();
    text.split(|c: char| !c.is_ascii_digit())
        .find_map(|digits| digits.parse().ok())
        .unwrap_or_default()
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}
