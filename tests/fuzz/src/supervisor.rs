//! The supervisor in a small kernel of its own: any configuration and any order of events. The kernel watches
//! over what it asks for; in the end everything that is told to end has to come to an end.

use std::time::Duration;

use go_overlay::api::protocol;
use go_overlay::base::{ClientId, ExitStatus, JobId, Pid, Signal};
use go_overlay::domain::{CheckError, CheckProblem, NeverReady, Now, WaitFor};
use go_overlay::supervisor::client::{Request, Selection};
use go_overlay::supervisor::event::{Action, Event, Scope, Word};

use super::cursor::Cursor;
use super::kernel::Kernel;
use super::services::{NAMES, config, main_program, time};

/// More events are for a longer simulation.
const MAX_EVENTS: usize = 100;

/// Beside the bound of the shutdown itself: what strays and the kernel may take.
const LAST_GRACES: Duration = Duration::from_secs(3);

pub fn run(data: &[u8]) {
    let decided = play(data);
    assert!(decided == play(data), "the same events, other decisions");
}

fn play(data: &[u8]) -> Vec<Action> {
    let mut cursor = Cursor::new(data);
    let config = config(&mut cursor);
    let main = main_program(&mut cursor);
    let mut kernel = Kernel::new(config, main);
    kernel.broken = cursor.pick(&[0, 1, 0xff]);
    kernel.tell(Event::Boot);
    for _ in 0..MAX_EVENTS {
        if cursor.is_at_end() || kernel.exit.is_some() {
            break;
        }
        happens(&mut kernel, &mut cursor);
    }
    comes_to_an_end(&mut kernel);
    kernel.decided
}

fn happens(kernel: &mut Kernel, cursor: &mut Cursor<'_>) {
    match cursor.below(20) {
        0..=2 => ends(kernel, cursor),
        3..=5 => kernel.pass(time(cursor)),
        6 | 7 => checked(kernel, cursor),
        8 | 9 => says(kernel, cursor),
        10 | 11 => kernel.ask(change(cursor)),
        12 => {
            let request = wait(cursor);
            kernel.ask(request);
        }
        13 => {
            let signal = cursor.pick(&["HUP", "KILL", "15", "RTMAX-1", "USB", ""]);
            kernel.ask(Request::Signal {
                service: name(cursor),
                signal: signal.into(),
            });
        }
        14 => goes(kernel, cursor),
        15 => {
            let config = config(cursor);
            kernel.supervisor.plan(&config);
            kernel.tell(Event::Reload(Box::new(config)));
        }
        16 => signalled(kernel, cursor),
        17 => {
            kernel.broken = cursor.byte();
            kernel.obedient = !cursor.one_in(2);
            kernel.strays = cursor.one_in(2);
        }
        18 => stale(kernel, cursor),
        _ => looks(kernel),
    }
}

fn ends(kernel: &mut Kernel, cursor: &mut Cursor<'_>) {
    let jobs: Vec<JobId> = kernel.alive.keys().copied().collect();
    if !jobs.is_empty() {
        let job = cursor.pick(&jobs);
        let status = cursor.pick(&[
            ExitStatus::Exited(0),
            ExitStatus::Exited(1),
            ExitStatus::Exited(3),
            ExitStatus::Signaled(Signal::HUP),
            ExitStatus::KilledForMemory,
        ]);
        kernel.end(job, status);
    }
}

fn checked(kernel: &mut Kernel, cursor: &mut Cursor<'_>) {
    let checks: Vec<JobId> = kernel.checks.keys().copied().collect();
    if !checks.is_empty() {
        let job = cursor.pick(&checks);
        let failed = CheckProblem::Ended(ExitStatus::Exited(1), None);
        let result = cursor.pick(&[Ok(()), Err(check_error(failed))]);
        kernel.check_ends(job, result);
    }
}

fn check_error(problem: CheckProblem) -> CheckError {
    CheckError::Failed {
        probe: "check".into(),
        problem,
    }
}

fn says(kernel: &mut Kernel, cursor: &mut Cursor<'_>) {
    let jobs: Vec<JobId> = kernel.alive.keys().copied().collect();
    if !jobs.is_empty() {
        let job = cursor.pick(&jobs);
        let word = word(cursor);
        kernel.tell(Event::Said { job, word });
    }
}

fn word(cursor: &mut Cursor<'_>) -> Word {
    cursor.pick(&[
        Word::Ready,
        Word::Alive,
        Word::Stopping,
        Word::Trouble,
        Word::NeverReady(NeverReady::Closed),
        Word::Status("serving".into()),
        Word::Status(String::new()),
        Word::AliveWithin(None),
        Word::AliveWithin(Some(Duration::from_micros(1))),
        Word::AliveWithin(Some(Duration::MAX)),
        Word::ExtendTimeout(Duration::ZERO),
        Word::ExtendTimeout(Duration::MAX),
        Word::MainPid(Pid(4711)),
    ])
}

/// A service, or one that is not there.
fn name(cursor: &mut Cursor<'_>) -> String {
    let index = cursor.below(NAMES.len() + 1);
    NAMES.get(index).map_or("wbe".into(), |name| (*name).into())
}

fn change(cursor: &mut Cursor<'_>) -> Request {
    let options = cursor.byte();
    let chosen = |bit: u8| options & (1 << bit) != 0;
    let names = NAMES.iter().enumerate();
    let named = names.filter(|(index, _)| options & (8 << index) != 0);
    let mut selection = Selection {
        services: named.map(|(_, name)| (*name).to_owned()).collect(),
        all: chosen(0),
        with_dependents: chosen(1),
        no_wait: chosen(2),
        timeout_ms: None,
    };
    if selection.all && !chosen(3) {
        selection.services.clear();
    }
    selection.timeout_ms = cursor.pick(&[None, Some(0), Some(500), Some(u64::MAX)]);
    match cursor.below(7) {
        0 | 1 => Request::Start(selection),
        2 | 3 => Request::Stop(selection),
        4 | 5 => Request::Restart(selection),
        _ => Request::Shutdown {
            exit_code: cursor.pick(&[None, Some(7)]),
        },
    }
}

fn wait(cursor: &mut Cursor<'_>) -> Request {
    Request::Wait {
        service: name(cursor),
        until: cursor.pick(&[
            WaitFor::Running,
            WaitFor::Healthy,
            WaitFor::Stopped,
            WaitFor::Completed,
        ]),
        timeout_ms: cursor.pick(&[None, Some(0), Some(500), Some(u64::MAX)]),
    }
}

fn goes(kernel: &mut Kernel, cursor: &mut Cursor<'_>) {
    let clients: Vec<ClientId> = kernel.open.iter().copied().collect();
    if !clients.is_empty() {
        let client = cursor.pick(&clients);
        kernel.open.remove(&client);
        kernel.tell(Event::ClientGone { client });
    }
}

fn signalled(kernel: &mut Kernel, cursor: &mut Cursor<'_>) {
    let signals = [Signal::TERM, Signal::INT, Signal::HUP, Signal::RTMIN_3];
    let signal = cursor.pick(&signals);
    match cursor.one_in(2) {
        false => kernel.tell(Event::ForwardSignal {
            signal,
            scope: Scope::Process,
        }),
        true => kernel.tell(Event::ShutdownSignal(signal)),
    }
}

/// What comes of jobs that are over, and of nobody.
fn stale(kernel: &mut Kernel, cursor: &mut Cursor<'_>) {
    let job = JobId(u64::from(cursor.byte()));
    let status = ExitStatus::Exited(0);
    let unknown = !kernel.alive.contains_key(&job);
    match cursor.below(4) {
        0 if unknown => kernel.tell(Event::Exited { job, status }),
        1 if !kernel.checks.contains_key(&job) => {
            let result = Err(check_error(CheckProblem::Reported("late".into())));
            kernel.tell(Event::Checked { job, result });
        }
        2 if unknown => {
            let word = word(cursor);
            kernel.tell(Event::Said { job, word });
        }
        _ => kernel.tell(Event::ClientGone {
            client: ClientId(job.0 + 1_000_000),
        }),
    }
}

/// Questions change nothing, and have an answer at any time.
fn looks(kernel: &mut Kernel) {
    let (supervisor, now) = (&kernel.supervisor, Now::at(kernel.now));
    let rows = supervisor.list(now);
    let status = supervisor.system_status(now);
    assert_eq!(status.total, rows.len());
    for row in &rows {
        let name = &row.config.name;
        assert!(!name.is_empty());
        protocol::row(row);
        // One that is leaving is in the list, and has no name to be asked for.
        if let Ok(detail) = supervisor.service_detail(name, now) {
            protocol::service(detail);
        }
    }
    protocol::health(&supervisor.health());
    supervisor.main_processes();
}

/// SIGTERM, a kernel that obeys, and time: the end comes, within its bound, and is final.
fn comes_to_an_end(kernel: &mut Kernel) {
    kernel.obedient = true;
    looks(kernel);
    if kernel.going_down.is_none() {
        kernel.tell(Event::ShutdownSignal(Signal::TERM));
    }
    let (began, within) = kernel.going_down.unwrap();
    let bound = began.after(within).after(LAST_GRACES);
    while kernel.exit.is_none() {
        let next = kernel.supervisor.poll_timeout();
        let next = next.unwrap_or_else(|| panic!("it waits for nothing, and for ever"));
        assert!(
            next.at <= bound,
            "the end comes after {:?}",
            next.at.since(began)
        );
        kernel.pass(next.at.since(kernel.now));
    }
    kernel.tell(Event::Boot);
    kernel.tell(Event::ShutdownSignal(Signal::TERM));
}
