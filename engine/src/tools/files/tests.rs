//! What is opened through links, pipes, second names and parts of files.

use super::*;
use std::os::unix::fs::symlink;

async fn rule(files: &Files, path: &str) -> Option<&'static str> {
    match files.read_file(&json!({ "path": path })).await {
        Err(ToolError::Refused { rule, .. }) => Some(rule),
        _ => None,
    }
}

#[tokio::test]
async fn what_is_opened_is_judged_and_not_its_name_alone() {
    let world = tempfile::tempdir().unwrap();
    let root = world.path().join("root");
    std::fs::create_dir_all(root.join("notes")).unwrap();
    std::fs::write(world.path().join("outside.txt"), "canary").unwrap();
    std::fs::write(root.join("notes/a.txt"), "inside").unwrap();
    std::fs::write(root.join(".hidden"), "hidden").unwrap();
    std::fs::write(root.join("audit.ndjson"), "{}").unwrap();
    symlink("../outside.txt", root.join("leaves")).unwrap();
    symlink("notes/a.txt", root.join("stays")).unwrap();
    symlink(".hidden", root.join("shows")).unwrap();
    std::fs::create_dir_all(root.join(".git")).unwrap();
    std::fs::write(root.join(".git/config"), "hidden").unwrap();
    symlink(".git", root.join("history")).unwrap();
    symlink("/proc/self", root.join("process")).unwrap();
    std::fs::write(root.join("one"), "").unwrap();
    std::fs::hard_link(root.join("one"), root.join("two")).unwrap();
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let files = Files::open(std::slice::from_ref(&root), &[root.join("audit.ndjson")]).unwrap();
    for (path, refused) in [
        ("leaves", Some("path.outside-root")),
        ("shows", Some("path.hidden")),
        ("history/config", Some("path.hidden")),
        ("process/environ", Some("path.outside-root")),
        ("two", Some("path.hard-link")),
        ("pipe", Some("path.not-a-file")),
        ("audit.ndjson", Some("path.engine-file")),
        ("stays", None),
        ("notes/a.txt", None),
    ] {
        assert_eq!(rule(&files, path).await, refused, "{path}");
    }
    let read = files
        .read_file(&json!({ "path": "notes/a.txt", "offset": 2, "length": 2 }))
        .await
        .unwrap()
        .result;
    assert_eq!(
        (read["content"].as_str(), read["truncated"].as_bool()),
        (Some("si"), Some(true))
    );
    let listed = files
        .list_directory(&json!({ "path": ".", "recursive": true }))
        .await
        .unwrap()
        .result;
    let names: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "audit.ndjson",
            "history",
            "leaves",
            "notes",
            "notes/a.txt",
            "one",
            "pipe",
            "process",
            "shows",
            "stays",
            "two"
        ]
    );
    let hidden = files.list_directory(&json!({ "path": "history" })).await;
    assert_eq!(hidden, Err(ToolError::refused(Rule::PathHidden)));
    assert!(Files::open(&[PathBuf::from("/")], &[]).is_err());
}

#[test]
fn without_the_guard_of_texts_the_handle_still_keeps_to_its_root() {
    let world = tempfile::tempdir().unwrap();
    let root = world.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(world.path().join("outside.txt"), "canary").unwrap();
    std::fs::write(root.join(".env"), "hidden").unwrap();
    symlink("..", root.join("up")).unwrap();
    let files = Files::open(std::slice::from_ref(&root), &[]).unwrap();
    let root = &files.0.roots[0];
    for path in [
        "../outside.txt",
        "up/outside.txt",
        "/etc/passwd",
        "./../outside.txt",
    ] {
        let error = root.dir.open(path).err().map(|error| opening(&error));
        assert_eq!(
            error,
            Some(ToolError::refused(Rule::PathOutsideRoot)),
            "{path}"
        );
    }
    let hidden = root.dir.open(".env").unwrap();
    let judged = files.0.allow(
        root,
        Path::new(".env"),
        &hidden,
        &hidden.metadata().unwrap(),
    );
    assert_eq!(judged, Err(ToolError::refused(Rule::PathHidden)));
}

#[tokio::test]
async fn a_listing_looks_into_no_folder_of_keys_and_says_where_it_ends() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = tempfile::tempdir().unwrap();
    let root = world.path();
    let odd = root.join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    for folder in [root.join("id_rsa"), root.join(".git"), odd.clone()] {
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("inner"), "").unwrap();
    }
    symlink("itself", root.join("itself")).unwrap();
    let files = Files::open(&[root.to_owned()], &[]).unwrap();
    let list = async |path: &str| {
        let arguments = json!({ "path": path, "recursive": true, "include_hidden": true });
        let told = files.list_directory(&arguments).await.unwrap().result;
        let entries = told["entries"].as_array().unwrap().clone();
        let names = entries
            .iter()
            .filter_map(|entry| entry["name"].as_str().map(ToOwned::to_owned));
        (names.collect::<Vec<_>>(), told["truncated"] == true)
    };
    let names = [
        ".git",
        "id_rsa",
        "itself",
        "odd\u{fffd}",
        "odd\u{fffd}/inner",
    ];
    assert_eq!(
        list(".").await,
        (names.map(ToOwned::to_owned).to_vec(), false)
    );
    assert!(matches!(
        files.read_file(&json!({ "path": "itself" })).await,
        Err(ToolError::NotFound(_))
    ));
    std::fs::create_dir_all(root.join("deep").join(["d"; DEEPEST + 1].join("/"))).unwrap();
    let (below, truncated) = list("deep").await;
    assert_eq!((below.len(), truncated), (DEEPEST + 1, true));
}

#[tokio::test]
async fn parts_of_a_file_are_whole_characters_and_none_lies_behind_its_end() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.txt"), "aäb").unwrap();
    std::fs::File::create(root.path().join("sparse"))
        .unwrap()
        .set_len(10 << 30)
        .unwrap();
    let link = root.path().with_extension("link");
    symlink(root.path(), &link).unwrap();
    let files = Files::open(std::slice::from_ref(&link), &[]).unwrap();
    let read = async |arguments: Value| files.read_file(&arguments).await.map(|told| told.result);
    let part = read(json!({ "path": "a.txt", "length": 2 })).await.unwrap();
    assert_eq!(
        (part["content"].as_str(), part["truncated"].as_bool()),
        (Some("a"), Some(true))
    );
    let inside = read(json!({ "path": "a.txt", "offset": 2 })).await;
    assert_eq!(
        inside,
        Err(ToolError::argument("/offset", "is within a character"))
    );
    let less = read(json!({ "path": "a.txt", "offset": 1, "length": 1 })).await;
    assert_eq!(
        less,
        Err(ToolError::argument(
            "/length",
            "is less than the character there"
        ))
    );
    // What is no text is not taken for a character that the part cuts through.
    std::fs::write(root.path().join("b.txt"), b"a\xc3bcd").unwrap();
    assert!(read(json!({ "path": "b.txt", "length": 3 })).await.is_err());
    let behind = read(json!({ "path": "a.txt", "offset": u64::MAX }))
        .await
        .unwrap();
    assert_eq!(
        (behind["content"].as_str(), behind["truncated"].as_bool()),
        (Some(""), Some(false))
    );
    let sparse = read(json!({ "path": "sparse", "offset": 1, "encoding": "base64" }))
        .await
        .unwrap();
    assert_eq!(sparse["truncated"], true);
    // The root may be named as the operator wrote it, and as the system knows it.
    for root in [link.clone(), link.canonicalize().unwrap()] {
        assert!(read(json!({ "path": root.join("a.txt") })).await.is_ok());
    }
    std::fs::remove_file(link).unwrap();
}
