//! Where the control socket lives, and that there is only ever one daemon: with several users, without a
//! writable directory, and when two start at once. Each test has a PID namespace, a network namespace
//! (abstract names) and a /run of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::process::{Command, Output, Stdio};

use support::{Launch, PROGRAM, Stage, cli, skip};

/// Runs a shell script as root of a small world: `$G` is the program, `$C` a configuration with one
/// service, `up COMMAND…` waits for a command to succeed.
fn world(stage: &Stage, script: &str) -> Option<Output> {
    let config = stage.file(
        "services.toml",
        "[[services]]\nname = \"web\"\ncommand = \"sleep\"\nargs = [\"1000\"]\n",
    );
    // The build's own folder may be closed to other users.
    let program = stage.copy_of(PROGRAM, "go-overlay");
    let script = format!(
        "set -eu\nmount -t tmpfs -o mode=755 none /run\nG={program} C={config}\n\
         up() {{ i=0; until \"$@\" >/dev/null 2>&1; do i=$((i+1)); [ $i -lt 600 ]; sleep 0.05; done; }}\n\
         as() {{ user=$1; shift; setpriv --reuid=$user --regid=$user --clear-groups \"$@\"; }}\n\
         unset XDG_RUNTIME_DIR GO_OVERLAY_SOCKET GO_OVERLAY_CONFIG\n{script}\n"
    );
    let flags = [
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ];
    let unshared = |script: &str| {
        Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", script])
            .stdin(Stdio::null())
            .output()
    };
    if !unshared("exit 0").is_ok_and(|output| output.status.success()) {
        skip("namespaces cannot be made here");
        return None;
    }
    Some(unshared(&script).unwrap())
}

fn expect(stage: &Stage, script: &str) {
    if let Some(output) = world(stage, script) {
        assert!(output.status.success(), "{script}\n{output:?}");
    }
}

#[test]
fn root_listens_in_a_directory_of_its_own() {
    need_root!();
    expect(
        &Stage::new(),
        "$G --no-install --config $C & up $G list
         [ \"$(stat -c %a /run/go-overlay)\" = 700 ]
         [ \"$(stat -c %a /run/go-overlay/control.sock)\" = 600 ]
         $G shutdown; wait $!
         [ ! -e /run/go-overlay/control.sock ]",
    );
}

#[test]
fn a_second_daemon_of_any_user_starts_nothing() {
    need_root!();
    expect(
        &Stage::new(),
        "$G --no-install --config $C & up $G list
         for user in 0 1234; do
             code=0; said=$(as $user $G --no-install --config $C 2>&1) || code=$?
             [ $code = 1 ] || { echo \"$user: $code $said\" >&2; exit 9; }
             case $said in *'already running'*) ;; *) echo \"$said\" >&2; exit 8;; esac
         done
         [ \"$($G list --json | grep -c RUNNING)\" = 1 ]",
    );
}

#[test]
fn without_a_writable_directory_the_name_is_abstract() {
    need_root!();
    expect(
        &Stage::new(),
        "mount -o remount,ro /run
         $G --no-install --config $C & up $G list
         grep -q @go-overlay/ /proc/net/unix
         ! $G --no-install --config $C
         ! as 1234 $G --no-install --config $C
         # Others may look, and change nothing.
         as 1234 $G list | grep -q web
         ! as 1234 $G stop web
         $G status web | grep -q RUNNING
         $G shutdown; wait $!",
    );
}

#[test]
fn a_user_has_a_daemon_in_the_runtime_directory_or_an_abstract_one() {
    need_root!();
    expect(
        &Stage::new(),
        "mkdir -m 700 /run/user; chown 1234:1234 /run/user
         export XDG_RUNTIME_DIR=/run/user
         as 1234 $G --config $C & up as 1234 $G list
         [ -S /run/user/go-overlay/control.sock ]
         as 1234 $G shutdown; wait $!
         chmod 777 /run/user
         as 1234 $G --config $C & up as 1234 $G list
         [ ! -e /run/user/go-overlay/control.sock ]
         grep -q @go-overlay/.*/1234 /proc/net/unix
         # Root runs the command as that user: any user could have taken the name.
         ! $G list
         as 1234 $G list | grep -q web
         as 1234 $G shutdown; wait $!",
    );
}

#[test]
fn a_squatter_is_not_obeyed_and_stops_nobody() {
    need_root!();
    let stage = Stage::new();
    let open = stage.open_folder("open");
    // The most convincing squatter there is: a real daemon of a user who is nobody here.
    expect(
        &stage,
        &format!(
            "ns=$(stat -L -c %i /proc/self/ns/pid)
             for name in 0 1234 77 starting; do
                 as 77 $G --config $C --socket @go-overlay/$ns/$name >/dev/null 2>&1 &
                 up as 77 $G list --socket @go-overlay/$ns/$name
             done
             # Another user: neither obeys it nor takes it for a daemon.
             code=0; as 1234 $G list 2>{open}/said || code=$?
             [ $code = 3 ]; grep -q 'belongs to another user (77)' {open}/said
             setpriv --reuid=1234 --regid=1234 --clear-groups $G --config $C >{open}/log 2>&1 & daemon=$!
             up grep -q 'will not reach this daemon' {open}/log
             grep -q 'another user took the name' {open}/log
             kill -0 $daemon; kill $daemon; wait $daemon
             # Root has its directory, and its own daemon answers it.
             $G --no-install --config $C & up test -S /run/go-overlay/control.sock; up $G list
             $G version | grep -q \"pid $!\"
             $G shutdown; wait $!"
        ),
    );
}

/// Containers of a pod may share all that an abstract name goes with: the PID and the network namespace, and
/// the user.
#[test]
fn two_containers_of_a_pod_have_a_daemon_each_and_reach_their_own() {
    need_root!();
    let stage = Stage::new();
    let folder = stage.open_folder("pod");
    expect(
        &stage,
        &format!(
            "for c in a b c; do sed s/web/of-$c/ $C >{folder}/$c.toml; done
             enter() {{ pid=$1; shift; nsenter -m -t $pid setpriv --reuid=1234 --regid=1234 --clear-groups \"$@\"; }}
             for c in a b; do unshare -m sleep 1000 & eval $c=$!; done
             up sh -c \"[ \\$(readlink /proc/$b/ns/mnt) != \\$(readlink /proc/self/ns/mnt) ]\"
             enter $a $G --config {folder}/a.toml & up enter $a $G list
             enter $b $G --config {folder}/b.toml & up enter $b $G list
             enter $a $G list | grep -q of-a; enter $b $G list | grep -q of-b
             # There is one in each, and none where there is none.
             ! enter $b $G --config {folder}/c.toml
             code=0; as 1234 $G list 2>{folder}/said || code=$?
             [ $code = 3 ]; grep -q 'belongs to another container' {folder}/said
             enter $a $G shutdown; up sh -c '! grep -q @go-overlay/.*/1234$ /proc/net/unix'
             enter $b $G list | grep -q of-b
             ! enter $a $G list"
        ),
    );
}

/// The name tells its PID namespace, which any process of the network namespace can read there.
#[test]
fn a_silent_squatter_of_another_pid_namespace_keeps_nobody_waiting() {
    need_root!();
    let stage = Stage::new();
    let folder = stage.open_folder("open");
    expect(
        &stage,
        &format!(
            "unshare -p -f --mount-proc --kill-child sh -c 'exec sleep 1000' & up pgrep -P $!
             p=$(pgrep -P $!); n=$(stat -L -c %i /proc/$p/ns/pid)
             in_pod() {{ nsenter -t $p -p -m setpriv --reuid=1234 --regid=1234 --clear-groups timeout 20 \"$@\"; }}
             unshare -p -f --kill-child setpriv --reuid=1234 --regid=1234 --clear-groups \
                 $G --config $C --socket @go-overlay/$n/1234 >/dev/null 2>&1 & s=$!
             up grep -q @go-overlay/$n/1234 /proc/net/unix; kill -STOP $(pgrep -P $s)
             in_pod $G --config $C 2>{folder}/log & up grep -q 'STARTING -> RUNNING' {folder}/log
             up in_pod $G list
             in_pod $G stop web; in_pod $G list | grep -q STOPPED
             in_pod $G shutdown
             code=0; in_pod $G stop web 2>{folder}/said || code=$?
             [ $code = 3 ]; grep -q 'another PID namespace' {folder}/said"
        ),
    );
}

/// Any user can listen at the name and take no connection; the kernel keeps whoever connects then.
#[test]
fn a_name_whose_holder_takes_no_connection_costs_a_second() {
    need_root!();
    let stage = Stage::new();
    let folder = stage.open_folder("open");
    let squat = stage.file(
        "open/squat.py",
        "import socket, sys, time\n\
         name = '\\0' + sys.argv[1]\n\
         s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen(0)\n\
         full = []\n\
         for _ in range(4):\n    \
             c = socket.socket(socket.AF_UNIX); c.setblocking(False); full.append(c)\n    \
             try: c.connect(name)\n    \
             except BlockingIOError: pass\n\
         open(sys.argv[2], 'w').close()\n\
         time.sleep(100)\n",
    );
    expect(
        &stage,
        &format!(
            "n=$(stat -L -c %i /proc/self/ns/pid)
             as 20001 /usr/bin/python3 {squat} go-overlay/$n/1234 {folder}/full & up test -e {folder}/full
             code=0; as 1234 timeout 10 $G list 2>{folder}/said || code=$?
             [ $code = 3 ]; grep -q 'takes no connections' {folder}/said
             # Nor does it cost a daemon its control socket.
             setpriv --reuid=1234 --regid=1234 --clear-groups $G --config $C >{folder}/log 2>&1 & daemon=$!
             up as 1234 $G list; as 1234 $G shutdown; wait $daemon"
        ),
    );
}

/// Who the living daemons belong to after several users started one at the same time.
fn survivors(stage: &Stage, before: &str, users: &str) -> Option<String> {
    let first = users.split(' ').next().unwrap();
    let output = world(
        stage,
        &format!(
            "{before}
             living() {{
                 for p in /proc/[0-9]*; do
                     case $(readlink $p/exe || true) in */go-overlay) stat -c %u $p;; esac
                 done
             }}
             one() {{ [ \"$(living | wc -l)\" = 1 ]; }}
             for user in {users}; do
                 as $user $G --no-install --config $C >/dev/null 2>&1 &
             done
             # The others may wait for each other first: each looks for the one before it.
             up as {first} $G list; up one; as {first} $G list >/dev/null
             living"
        ),
    )?;
    assert!(output.status.success(), "{output:?}");
    let uids = String::from_utf8(output.stdout).unwrap();
    Some(uids.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn of_daemons_that_start_at_once_one_lives() {
    need_root!();
    for before in ["", "mount -o remount,ro /run"] {
        for (users, wanted) in [("0 0 0 0 0 0", "0"), ("1234 1234 1234 1234", "1234")] {
            if let Some(found) = survivors(&Stage::new(), before, users) {
                assert_eq!(found, wanted, "{before} {users}");
            }
        }
    }
}

/// Root cannot tell a daemon of a user who is nobody here from a squatter, and a squatter must stop
/// nobody: so root's daemon starts beside it. The other way round the second one gives way.
#[test]
fn root_does_not_give_way_to_a_user_who_does_not_own_the_container() {
    need_root!();
    let script = "as 1234 $G --config $C & up as 1234 $G list
         $G --no-install --config $C & up test -S /run/go-overlay/control.sock
         up $G list
         $G version | grep -q \"pid $!\"
         as 1234 $G list | grep -q web";
    expect(&Stage::new(), script);
}

#[test]
fn a_place_that_others_can_write_is_refused_with_a_way_out() {
    let stage = Stage::new();
    let open = stage.open_folder("open");
    let text = "[[services]]\nname = \"web\"\ncommand = \"true\"\n";
    let config = stage.file("services.toml", text);
    let socket = format!("{open}/control.sock");
    let output = Command::new(PROGRAM)
        .args(["--no-install", "--config", &config, "--socket", &socket])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("others can write to"), "{said}");
    assert!(said.contains("choose a directory"), "{said}");
}

#[test]
fn what_a_killed_daemon_left_is_replaced() {
    let stage = Stage::new();
    let text = "[[services]]\nname = \"web\"\ncommand = \"true\"\n";
    let mut killed = Launch::on(&stage).config(text).start();
    killed.signal(nix::sys::signal::Signal::SIGKILL);
    killed.wait_exit(support::PATIENCE);
    assert!(stage.socket().exists());
    assert_eq!(cli(&stage.socket(), &["list"]).status.code(), Some(3));
    let mut daemon = Launch::on(&stage).config(text).start();
    daemon.shut_down();
    assert!(!stage.socket().exists());
}
