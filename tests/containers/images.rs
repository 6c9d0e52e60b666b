//! How the images are made: the founding Dockerfile, the recipes of the documentation, nothing at all around the binary,
//! a Debian tree, and a shell of another C library.

use std::time::Duration;

use super::support::{self, BUSYBOX, File, PATIENCE, PROGRAM, shell, sleeper, talker, until};

#[test]
fn from_scratch_with_nothing_but_the_binary_and_a_service() {
    let engine = engine!();
    // The service is the binary once more, with a main program of its own: nothing else is there.
    let services = "[[services]]\nname = \"self\"\ncommand = \"/go-overlay\"\nargs = [\"version\"]\n\
                    restart = { policy = \"always\", delay = 1 }\n";
    engine.build(
        "go-overlay-scratch",
        "FROM scratch\nCOPY go-overlay /go-overlay\nCOPY services.toml /services.toml\nENTRYPOINT [\"/go-overlay\"]\n",
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(services))],
    );
    let container = engine.run(&["go-overlay-scratch"]);
    container.wait_for("[self] go-overlay 0");
    let (code, list) = container.go(&["list"]);
    assert!(code == 0 && list.contains("self"), "{list}");
    container.stops_within(Duration::from_secs(5));
    assert_eq!(container.exit_code(), 0);
}

#[test]
fn the_dockerfile_of_the_readme() {
    let engine = engine!();
    let services = talker("web", "");
    engine.build(
        "go-overlay-readme",
        &format!(
            "FROM {BUSYBOX}\nCOPY go-overlay /usr/local/bin/go-overlay\nENV PATH=/usr/local/bin:/bin\nCOPY services.toml /services.toml\n\
             ENTRYPOINT [\"/usr/local/bin/go-overlay\"]\nHEALTHCHECK --interval=1s CMD [\"go-overlay\", \"health\"]\n"
        ),
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(&services))],
    );
    let container = engine.run(&["go-overlay-readme"]);
    container.wait_for("[web] web up");
    let listed = engine.ok(&["exec", &container.id, "go-overlay", "list"]);
    assert!(listed.contains("RUNNING"), "{listed}");
    until("a healthy container", PATIENCE, || {
        (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
    });
    container.stop(10);
    assert_eq!(container.exit_code(), 0);
}

/// A recipe of the documentation, with the images it begins from replaced by ours.
fn recipe(name: &str, debian: &str) -> String {
    let path = format!(
        "{}/docs/containers/{name}.Dockerfile",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    // What was built is beside the Dockerfile here: no image can be fetched, and no compiler is in ours.
    let text = text.replace(
        "COPY --from=build /out/usr/local/bin/go-overlay",
        "COPY go-overlay",
    );
    let last = text.rfind("FROM ").unwrap();
    let (base, rest) = text[last..].split_once('\n').unwrap();
    let ours = match base {
        "FROM scratch" | "FROM gcr.io/distroless/static-debian12:nonroot" => {
            "FROM scratch".to_owned()
        }
        "FROM alpine:latest" => format!("FROM {BUSYBOX}"),
        "FROM debian:bookworm-slim" => format!("FROM {debian}"),
        other => panic!("{other}: with what is it to be replaced?"),
    };
    let user = if base.ends_with(":nonroot") {
        "\nUSER 65532:65532"
    } else {
        ""
    };
    format!("{ours}{user}\n{rest}")
}

#[test]
fn each_recipe_builds_runs_is_healthy_and_stops() {
    let engine = engine!();
    let debian = debian!(engine);
    for name in ["debian", "alpine", "distroless", "scratch"] {
        let tag = format!("go-overlay-recipe-{name}");
        // The application is a static program.
        let services =
            "[[services]]\nname = \"app\"\ncommand = \"/busybox\"\nargs = [\"sleep\", \"1000\"]\n";
        let services = match name {
            "debian" | "alpine" => sleeper("app", ""),
            _ => services.to_owned(),
        };
        let busybox = support::find_program("busybox").unwrap();
        engine.build(
            &tag,
            &recipe(name, debian).replace("COPY app /app", "COPY busybox /busybox"),
            &[
                ("go-overlay", File::CopyOf(PROGRAM.into())),
                ("busybox", File::CopyOf(busybox.into())),
                ("services.toml", File::Text(&services)),
            ],
        );
        let container = engine.run(&["--health-interval", "500ms", &tag]);
        until(&format!("{name} to be healthy"), PATIENCE, || {
            (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
        });
        container.stops_within(Duration::from_secs(5));
        assert_eq!(container.exit_code(), 0, "{name}");
    }
}

#[test]
fn the_founding_dockerfile_with_the_binary_copied() {
    let engine = engine!();
    engine.ok(&["tag", BUSYBOX, "alpine:latest"]);
    engine.build(
        "go-overlay-founding",
        "FROM alpine:latest\nCOPY go-overlay /go-overlay\nRUN chmod +x /go-overlay\nCOPY services.toml /services.toml\n\
         ENTRYPOINT [\"/go-overlay\"]\n",
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(&talker("web", "")))],
    );
    let container = engine.run(&["go-overlay-founding"]);
    container.wait_for("[web] web up");
    container.stop(10);
    assert_eq!(container.exit_code(), 0);
}

/// The recipe's first stage builds from source; what it copies from there is what `make install` puts there.
#[test]
fn make_install_puts_the_binary_where_the_debian_recipe_takes_it() {
    let output = std::process::Command::new("make")
        .args(["--dry-run", "install", "DESTDIR=/out"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let recipe = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/containers/debian.Dockerfile"
    );
    let recipe = std::fs::read_to_string(recipe).unwrap();
    let copied = recipe.split("COPY --from=build ").nth(1).unwrap();
    let copied = copied.split(' ').next().unwrap();
    assert!(recipe.contains("RUN make install DESTDIR=/out\n"));
    assert!(
        said.contains(&format!("release/go-overlay\" \"{copied}\"")),
        "{copied}: {said}"
    );
}

#[test]
fn in_a_debian_system_with_its_nginx_and_its_users() {
    let engine = engine!();
    let debian = debian!(engine);
    let services =
        "[[services]]\nname = \"nginx\"\ncommand = \"nginx\"\nargs = [\"-g\", \"daemon off;\"]\n\
                    health = { http = \"http://127.0.0.1:80/\" }\nstop_signal = \"QUIT\"\n\n"
            .to_owned()
            + &shell(
                "whoami",
                "id; echo $HOME; sleep infinity",
                "user = \"www-data\"\ndepends_on = { nginx = \"healthy\" }",
            );
    engine.build(
        "go-overlay-in-debian",
        &format!("FROM {debian}\nCOPY go-overlay /go-overlay\nCOPY services.toml /services.toml\nENTRYPOINT [\"/go-overlay\"]\n"),
        &[("go-overlay", File::CopyOf(PROGRAM.into())), ("services.toml", File::Text(&services))],
    );
    let container = engine.run(&["go-overlay-in-debian"]);
    container.wait_for("uid=33(www-data) gid=33(www-data) groups=33(www-data)");
    container.wait_for("/var/www");
    let (code, list) = container.go(&["list"]);
    assert!(code == 0 && list.contains("healthy"), "{list}");
    container.stop(10);
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
}

/// A shell that was built with musl, and scripts that need one, in an image with nothing else.
#[test]
fn with_a_shell_of_another_c_library() {
    let engine = engine!();
    let shell = "/usr/lib/x86_64-linux-musl/bin/mksh";
    if !std::path::Path::new(shell).exists() {
        return support::skip("there is no mksh that was built with musl");
    }
    let services = "[[services]]\nname = \"app\"\ncommand = \"sh\"\n\
                    args = [\"-c\", \"trap 'echo bye; exit 0' TERM; echo up $KSH_VERSION; while :; do read -t 1 x; done\"]\n\
                    pre_script = \"echo before\\necho it\"\nhealth = { exec = [\"sh\", \"-c\", \"exit 0\"] }\n";
    engine.build(
        "go-overlay-musl",
        "FROM scratch\nCOPY sh /bin/sh\nCOPY go-overlay /go-overlay\nCOPY services.toml /services.toml\n\
         RUN [\"/go-overlay\", \"check\"]\nENTRYPOINT [\"/go-overlay\"]\n",
        &[
            ("sh", File::CopyOf(shell.into())),
            ("go-overlay", File::CopyOf(PROGRAM.into())),
            ("services.toml", File::Text(services)),
        ],
    );
    let container = engine.run(&["go-overlay-musl"]);
    container.wait_for("[app] up @(#)MIRBSD KSH");
    until("a healthy service", PATIENCE, || {
        (container.go(&["health"]).0 == 0).then_some(())
    });
    container.stop(10);
    let log = container.logs();
    assert!(log.find("before") < log.find("up @"), "{log}");
    assert!(log.contains("[app] bye"), "{log}");
    assert_eq!(container.exit_code(), 0);
}
