//! Tools that only look: `files.stat`, `files.search`.

use super::*;

#[test]
fn a_file_is_described_with_its_owner_and_on_request_its_digest() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("a");
    fs::write(&path, "12345").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    let told_of = told(&apply(&dir, "files.stat", &json!({"path": path, "digest": true})));
    let meta = fs::metadata(&path).expect("stat");
    assert_eq!((&told_of["type"], &told_of["size"], &told_of["mode"]), (&json!("regular"), &json!(5), &json!("0640")));
    assert_eq!(told_of["sha256"], json!(measure::sha256_of(b"12345")));
    assert_eq!(told_of["modified_ms"], json!(meta.mtime() * 1_000 + meta.mtime_nsec() / 1_000_000));
    if meta.uid() == 0 {
        assert_eq!((&told_of["user"], &told_of["group"]), (&json!("root"), &json!("root")));
    }
    assert_eq!(told(&apply(&dir, "files.stat", &json!({"path": path})))["sha256"], Value::Null);
    assert_eq!(told(&apply(&dir, "files.stat", &json!({"path": "/"})))["type"], json!("directory"));
    rustix::fs::chown(&path, Some(rustix::fs::Uid::from_raw(54_321)), None).expect("chown");
    assert_eq!(told(&apply(&dir, "files.stat", &json!({"path": path})))["user"], Value::Null, "nobody has that id");
}

#[test]
fn a_link_is_described_and_nothing_behind_it() {
    let dir = TempDir::new().expect("directory");
    symlink("/etc/passwd", dir.path().join("link")).expect("link");
    symlink("/etc", dir.path().join("etc")).expect("link");
    let link = told(&apply(&dir, "files.stat", &json!({"path": dir.path().join("link"), "digest": true})));
    assert_eq!((&link["type"], &link["link_target"]), (&json!("symlink"), &json!("/etc/passwd")));
    assert_eq!(link["sha256"], Value::Null);
    let behind = apply(&dir, "files.stat", &json!({"path": dir.path().join("etc/passwd")}));
    assert_eq!(reason(&behind), Reason::PathNotUsable);
    let none = apply(&dir, "files.stat", &json!({"path": dir.path().join("none")}));
    assert_eq!(reason(&none), Reason::PathNotFound);
}

/// Whatever a file of procfs is named like elsewhere is read.
#[test]
fn no_tool_reads_the_memory_of_a_process() {
    let dir = TempDir::new().expect("directory");
    let own = Path::new("/proc").join(std::process::id().to_string());
    let thread = own.join("task").join(std::process::id().to_string());
    for place in [own.join("mem"), own.join("environ"), own.join("maps"), thread.join("mem"), thread.join("auxv")] {
        // Where there is something at this place of memory the kernel would give it.
        let read = apply(&dir, "files.read", &json!({"path": place, "offset": 1_u64 << 22, "limit": 16}));
        assert_eq!(reason(&read), Reason::PathNotUsable, "{}", place.display());
        let error = read.result.error.expect("an error");
        assert!(error.message.contains("memory of a process"), "{}", error.message);
        let copied = apply(&dir, "files.copy", &json!({"from": place, "to": dir.path().join("copy")}));
        assert_eq!(reason(&copied), Reason::PathNotUsable, "{}", place.display());
    }
    let text = std::env::vars_os().next().expect("a variable").0.into_string().expect("text");
    let found = told(&apply(&dir, "files.search", &json!({"path": own, "glob": "environ", "pattern": text})));
    assert_eq!(found["matches"], json!([]));
    let stat = told(&apply(&dir, "files.stat", &json!({"path": own.join("environ")})));
    assert_eq!(stat["type"], json!("regular"));
    fs::write(dir.path().join("maps"), "of a town").expect("write");
    assert_eq!(told(&apply(&dir, "files.read", &json!({"path": dir.path().join("maps")})))["size"], json!(9));
    assert!(apply(&dir, "files.read", &json!({"path": own.join("status")})).result.ok);
}

/// Paths of matches, relative to a directory.
fn paths(dir: &Path, told: &Value) -> Vec<String> {
    let matches = told["matches"].as_array().expect("matches").iter();
    let text = |found: &Value| found["path"].as_str().expect("a path").to_owned();
    let start = format!("{}/", dir.display());
    matches.map(|found| text(found).strip_prefix(&start).expect("beneath the root").to_owned()).collect()
}

fn tree() -> TempDir {
    let dir = TempDir::new().expect("directory");
    fs::create_dir_all(dir.path().join("sub/deep")).expect("directories");
    fs::write(dir.path().join("a.py"), "import os\nprint('x')\n").expect("write");
    fs::write(dir.path().join("sub/b.py"), "x = 1\r\nimport sys\r\n").expect("write");
    fs::write(dir.path().join("sub/deep/c.txt"), "import nothing").expect("write");
    dir
}

#[test]
fn names_are_found_by_pattern_relative_to_the_root() {
    let dir = tree();
    let found =
        |glob: &str| paths(dir.path(), &told(&apply(&dir, "files.search", &json!({"path": dir.path(), "glob": glob}))));
    assert_eq!(found("*.py"), ["a.py"]);
    assert_eq!(found("**/*.py"), ["a.py", "sub/b.py"]);
    assert_eq!(found("sub/*"), ["sub/b.py", "sub/deep"]);
    assert!(found("../**").is_empty() || found("../**").len() == 5, "nothing outside the root is walked");
    let absolute = apply(&dir, "files.search", &json!({"path": dir.path(), "glob": "/etc/*"}));
    assert_eq!(reason(&absolute), Reason::InvalidArguments);
}

#[test]
fn lines_are_found_by_expression_with_their_numbers() {
    let dir = tree();
    let arguments = json!({"path": dir.path(), "glob": "**/*.py", "pattern": "^import \\w+$"});
    let result = told(&apply(&dir, "files.search", &arguments));
    assert_eq!(paths(dir.path(), &result), ["a.py", "sub/b.py"]);
    assert_eq!((&result["matches"][1]["line"], &result["matches"][1]["text"]), (&json!(2), &json!("import sys")));
    assert_eq!((&result["files"], &result["truncated"]), (&json!(2), &Value::Null));
    let either = json!({"path": dir.path(), "pattern": "IMPORT", "ignore_case": true});
    assert_eq!(paths(dir.path(), &told(&apply(&dir, "files.search", &either))).len(), 3);
    let empty = told(&apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "^$"})));
    assert!(paths(dir.path(), &empty).is_empty(), "behind a last newline is no line");
    let broken = apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "(a"}));
    assert_eq!(reason(&broken), Reason::InvalidArguments);
    let looks_back = apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "(a)\\1"}));
    assert_eq!(reason(&looks_back), Reason::InvalidArguments);
}

#[test]
fn a_search_says_when_it_was_cut_and_what_it_left_out() {
    let dir = tree();
    fs::write(dir.path().join("binary"), b"import\0").expect("write");
    fs::File::create(dir.path().join("large")).and_then(|file| file.set_len(17 << 20)).expect("a large file");
    fs::write(dir.path().join(".env"), "import TOKEN").expect("write");
    let result = told(&apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "import"})));
    let expected = json!({"binary": 1, "large": 1, "secret": 1, "unreadable": 0, "mounts": 0});
    assert_eq!(result["skipped"], expected);
    assert!(!paths(dir.path(), &result).contains(&".env".to_owned()));
    let cut = told(&apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "import", "limit": 2})));
    assert_eq!((cut["matches"].as_array().map(Vec::len), &cut["truncated"]), (Some(2), &json!("limit")));
}

#[test]
fn a_secret_directory_that_is_named_is_searched() {
    let dir = TempDir::new().expect("directory");
    let ssh = dir.path().join(".ssh");
    fs::create_dir(&ssh).expect("directory");
    fs::write(ssh.join("config"), "Host x").expect("write");
    let named = told(&apply(&dir, "files.search", &json!({"path": ssh, "pattern": "Host"})));
    assert_eq!(paths(&ssh, &named), ["config"]);
    let above = told(&apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "Host"})));
    assert_eq!((above["matches"].as_array().map(Vec::len), &above["skipped"]["secret"]), (Some(0), &json!(1)));
}

#[test]
fn a_search_follows_no_link_out_of_its_root_and_opens_no_fifo() {
    let dir = TempDir::new().expect("directory");
    let outside = TempDir::new().expect("directory");
    fs::write(outside.path().join("file"), "needle").expect("write");
    symlink(outside.path(), dir.path().join("out")).expect("link");
    symlink(outside.path().join("file"), dir.path().join("file")).expect("link");
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::Mode::from_raw_mode(0o600))
        .expect("fifo");
    let result = told(&apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "needle"})));
    assert_eq!((&result["matches"], &result["files"]), (&json!([]), &json!(0)));
    let through = apply(&dir, "files.search", &json!({"path": dir.path().join("out"), "pattern": "needle"}));
    assert_eq!(reason(&through), Reason::PathNotUsable);
}

#[test]
fn hidden_trees_are_neither_listed_nor_searched() {
    let dir = TempDir::new().expect("directory");
    let state = dir.path().join("state");
    fs::create_dir(&state).expect("directory");
    fs::write(state.join("key"), "needle").expect("write");
    fs::write(dir.path().join("open"), "needle").expect("write");
    let native = hiding(&dir, vec![state.clone()]);
    let run = |tool: &str, arguments: Value| {
        native.apply(&Admitted::for_tests(permit(dir.path(), tool, &arguments, ALL))).expect("permitted")
    };
    let found = told(&run("files.search", json!({"path": dir.path(), "pattern": "needle"})));
    assert_eq!(paths(dir.path(), &found), ["open"]);
    let names = told(&run("files.search", json!({"path": dir.path()})));
    assert_eq!(paths(dir.path(), &names), ["open"]);
    let listed = told(&run("files.list", json!({"path": dir.path(), "recursive": true})));
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(1));
    for (tool, path) in [("files.stat", state.join("key")), ("files.search", state)] {
        assert_eq!(reason(&run(tool, json!({"path": path}))), Reason::PathNotUsable, "{tool}");
    }
}

#[test]
fn an_expression_that_backtracking_would_never_finish_answers_at_once() {
    let dir = TempDir::new().expect("directory");
    fs::write(dir.path().join("a"), "a".repeat(100_000)).expect("write");
    let started = Instant::now();
    let result = told(&apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "(a+)+b"})));
    assert_eq!((&result["matches"], &result["files"]), (&json!([]), &json!(1)));
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
    let huge = apply(&dir, "files.search", &json!({"path": dir.path(), "pattern": "(a{1000}){1000}"}));
    assert_eq!(reason(&huge), Reason::InvalidArguments, "it would take too much memory");
}
