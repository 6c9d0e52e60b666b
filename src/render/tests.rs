//! What people see, as snapshots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::{Style, health, list, outcomes, plain, service, system};
use crate::control::message::{
    DependencyStatus, Health, Outcome, ServiceDetail, ServiceStatus, State, SystemStatus,
};

const WIDE: Style = Style {
    color: false,
    width: None,
};

fn row(name: &str, state: State, detail: &str) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        state,
        detail: detail.into(),
        pid: None,
        uptime_seconds: None,
        health: Health::None,
        restarts: 0,
        exit_code: None,
        required: false,
        enabled: true,
        cpu_seconds: None,
        cpu_percent: None,
        memory_bytes: None,
    }
}

fn services() -> Vec<ServiceStatus> {
    vec![
        ServiceStatus {
            pid: Some(17),
            uptime_seconds: Some(7384.2),
            health: Health::Healthy,
            required: true,
            cpu_seconds: Some(92.3),
            cpu_percent: Some(1.2),
            memory_bytes: Some(48_234_496),
            ..row("postgres", State::Running, "")
        },
        ServiceStatus {
            exit_code: Some(0),
            ..row("migrate", State::Stopped, "completed")
        },
        ServiceStatus {
            pid: Some(4071),
            uptime_seconds: Some(3.4),
            health: Health::Unhealthy,
            restarts: 12,
            cpu_seconds: Some(0.1),
            cpu_percent: Some(2.9),
            memory_bytes: Some(1_900_000_000),
            ..row("web", State::Running, "")
        },
        ServiceStatus {
            exit_code: Some(1),
            ..row(
                "worker-of-the-long-name",
                State::Failed,
                "exit 1; restarts in 4s (3 of 5)",
            )
        },
        row("cron", State::Pending, "waiting for web"),
        ServiceStatus {
            enabled: false,
            ..row("debug", State::Stopped, "disabled")
        },
    ]
}

#[test]
fn the_table_is_as_wide_as_needed_in_a_pipe() {
    insta::assert_snapshot!("list-wide", list(&services(), WIDE));
}

#[test]
fn the_table_fits_the_terminal() {
    for width in [100, 80, 60, 40] {
        let style = Style {
            color: false,
            width: Some(width),
        };
        insta::assert_snapshot!(format!("list-{width}"), list(&services(), style));
    }
}

#[test]
fn columns_that_say_nothing_go_first() {
    let rows = [
        ServiceStatus {
            pid: Some(8),
            uptime_seconds: Some(61.0),
            cpu_percent: Some(1.6),
            memory_bytes: Some(5_000_000),
            ..row("web", State::Running, "")
        },
        row("worker", State::Pending, "waiting for web"),
    ];
    let style = Style {
        color: false,
        width: Some(64),
    };
    insta::assert_snapshot!("list-says-nothing", list(&rows, style));
}

#[test]
fn states_have_colours() {
    let style = Style {
        color: true,
        width: Some(90),
    };
    let text = list(&services(), style).replace('\x1b', "^");
    insta::assert_snapshot!("list-colour", text);
}

#[test]
fn no_services_are_a_heading() {
    assert_eq!(list(&[], WIDE).lines().count(), 1);
}

#[test]
fn the_summary_counts() {
    let status = SystemStatus {
        total: 4,
        running: 2,
        failed: 1,
        stopped: 1,
        unhealthy: 1,
        ..SystemStatus::default()
    };
    assert_eq!(
        system(&status),
        "System Status: Total: 4, Running: 2, Failed: 1, Unhealthy: 1, Stopped: 1\n"
    );
    let ending = SystemStatus {
        shutting_down: true,
        stopping: 1,
        total: 1,
        ..SystemStatus::default()
    };
    assert_eq!(
        system(&ending),
        "System Status: Total: 1, Running: 0, Failed: 0, Stopping: 1 (shutting down)\n"
    );
}

fn web_in_full() -> ServiceDetail {
    ServiceDetail {
        status: services().remove(2),
        command: ["nginx", "-g", "daemon off;"].map(Into::into).into(),
        user: Some("www-data".into()),
        depends_on: vec![DependencyStatus {
            name: "postgres".into(),
            condition: "healthy".into(),
            met: true,
        }],
        dependents: vec!["cron".into(), "worker".into()],
        last_exit: Some("killed by SIGKILL".into()),
        stop_signal: "SIGQUIT".into(),
        stop_timeout_seconds: 10.0,
        log_file: Some("/var/log/web.log".into()),
        dropped_lines: 1234,
        restart_policy: "on-failure, 3 of 5 attempts used".into(),
        ready: "healthy".into(),
        health_check: Some("GET http://127.0.0.1/healthz every 10s".into()),
        health_reason: Some("GET /healthz: 503".into()),
        state_seconds: Some(3.4),
        last_lines: vec!["upstream timed out".into()],
    }
}

#[test]
fn one_service_in_full() {
    insta::assert_snapshot!("service", service(&web_in_full(), WIDE));
}

#[test]
fn a_failed_service_says_when_how_and_what_to_ask_next() {
    let mut detail = ServiceDetail {
        status: row("web", State::Failed, "exit 3; restarts in 4s (1 of 5)"),
        last_exit: Some("exit 3".into()),
        health_check: None,
        health_reason: None,
        state_seconds: Some(12.3),
        last_lines: vec!["one".into(), "\tat two\x1b[2J".into(), "three".into()],
        ..web_in_full()
    };
    detail.depends_on[0].met = false;
    insta::assert_snapshot!("service-failed", service(&detail, WIDE));
}

#[test]
fn a_failed_service_of_a_daemon_that_reports_neither_time_nor_output() {
    let detail = ServiceDetail {
        status: row("web", State::Failed, ""),
        state_seconds: None,
        last_lines: Vec::new(),
        ..web_in_full()
    };
    let text = service(&detail, WIDE);
    let end = "\n\nfailed\nnext:\n  go-overlay logs web\n  go-overlay start web\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn outcomes_and_health() {
    let all = [
        Outcome {
            name: "web".into(),
            ok: true,
            state: State::Running,
            detail: String::new(),
        },
        Outcome {
            name: "worker".into(),
            ok: false,
            state: State::Failed,
            detail: "exit 1".into(),
        },
    ];
    assert_eq!(
        outcomes(&all, WIDE),
        "✓ web     RUNNING\n✗ worker  FAILED (exit 1)\n"
    );
    assert_eq!(health(true, &[], WIDE), "healthy\n");
    assert_eq!(
        health(false, &["web is FAILED: exit 1".into()], WIDE),
        "not healthy\n  web is FAILED: exit 1\n"
    );
}

#[test]
fn nothing_that_is_shown_steers_the_terminal() {
    assert_eq!(plain("a\x1b[2Jb\nc\u{9b}d"), "a\\u{1b}[2Jb\\nc\\u{9b}d");
    let rows = [row("a\x1b]0;x\x07", State::Failed, "\r\x1b[2K")];
    let text = list(&rows, WIDE);
    assert!(
        !text
            .trim_end()
            .contains(|c: char| c.is_control() && c != '\n')
    );
}

proptest! {
    #[test]
    fn no_answer_and_no_width_panics_or_overflows(
        name in "\\PC{0,40}",
        detail in ".{0,60}",
        uptime in proptest::option::of(any::<f64>()),
        cpu in proptest::option::of(any::<f64>()),
        memory in proptest::option::of(any::<u64>()),
        width in 0..200usize,
    ) {
        let rows = [ServiceStatus {
            uptime_seconds: uptime,
            cpu_percent: cpu,
            memory_bytes: memory,
            ..row(&name, State::Running, &detail)
        }];
        let text = list(&rows, Style { color: false, width: Some(width) });
        for line in text.lines() {
            prop_assert!(line.chars().count() <= width, "{line:?}");
        }
    }
}
