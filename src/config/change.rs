//! What two versions of a service differ in, and whether its process has to know.

use super::model::{Ready, Service};

/// What changed between two versions of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The keys that changed, as they are written.
    pub keys: Vec<&'static str>,
    /// Whether something changed that a process gets when it is started.
    pub needs_restart: bool,
}

impl Change {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Compares two versions of the service of one name.
pub fn between(old: &Service, new: &Service) -> Change {
    // Taken apart, so that a new key cannot be forgotten here.
    let Service {
        name: _,
        command,
        args,
        enabled,
        required,
        user,
        script_user,
        depends_on,
        pre_script,
        post_script,
        log_file,
        log,
        env,
        env_file,
        working_dir,
        umask,
        nice,
        oom_score_adj,
        limits,
        no_new_privs,
        tty,
        stdin,
        tty_size,
        stop_signal,
        stop_timeout,
        restart,
        success_exit_codes,
        health,
        ready,
        ready_timeout,
        watchdog,
        on_dependency_failure,
    } = old;
    // A process is given a descriptor or an address for these, and nothing for the others.
    let speaks = |ready: &Ready| matches!(ready, Ready::Notify | Ready::Fd(_));
    let ready_matters = ready != &new.ready && (speaks(ready) || speaks(&new.ready));
    let of_the_process = [
        ("command", command != &new.command),
        ("args", args != &new.args),
        ("user", user != &new.user),
        ("env", env != &new.env),
        ("env_file", env_file != &new.env_file),
        ("working_dir", working_dir != &new.working_dir),
        ("umask", umask != &new.umask),
        ("nice", nice != &new.nice),
        ("oom_score_adj", oom_score_adj != &new.oom_score_adj),
        ("limits", limits != &new.limits),
        ("no_new_privs", no_new_privs != &new.no_new_privs),
        ("tty", tty != &new.tty),
        ("stdin", stdin != &new.stdin),
        ("tty_size", tty_size != &new.tty_size),
        ("watchdog", watchdog != &new.watchdog),
        ("ready", ready_matters),
    ];
    let of_the_supervisor = [
        ("enabled", enabled != &new.enabled),
        ("required", required != &new.required),
        ("script_user", script_user != &new.script_user),
        ("depends_on", depends_on != &new.depends_on),
        ("pre_script", pre_script != &new.pre_script),
        ("pos_script", post_script != &new.post_script),
        ("log_file", log_file != &new.log_file),
        ("log", log != &new.log),
        ("stop_signal", stop_signal != &new.stop_signal),
        ("stop_timeout", stop_timeout != &new.stop_timeout),
        ("restart", restart != &new.restart),
        (
            "success_exit_codes",
            success_exit_codes != &new.success_exit_codes,
        ),
        ("health", health != &new.health),
        ("ready", !ready_matters && ready != &new.ready),
        ("ready_timeout", ready_timeout != &new.ready_timeout),
        (
            "on_dependency_failure",
            on_dependency_failure != &new.on_dependency_failure,
        ),
    ];
    let changed = |(key, differs): (&'static str, bool)| differs.then_some(key);
    let needs_restart = of_the_process.iter().any(|(_, differs)| *differs);
    let all = of_the_process.into_iter().chain(of_the_supervisor);
    Change {
        keys: all.filter_map(changed).collect(),
        needs_restart,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_a_process_gets_needs_a_restart() {
        let old = Service::default();
        assert!(between(&old, &old.clone()).is_empty());
        let quiet = Service {
            required: true,
            ready_timeout: Duration::from_secs(1),
            ready: Ready::Log("up".into()),
            ..Service::default()
        };
        let change = between(&old, &quiet);
        assert_eq!(change.keys, ["required", "ready", "ready_timeout"]);
        assert!(!change.needs_restart);
        let loud = Service {
            args: vec!["-v".into()],
            ready: Ready::Notify,
            ..Service::default()
        };
        let change = between(&old, &loud);
        assert_eq!(change.keys, ["args", "ready"]);
        assert!(change.needs_restart);
    }
}
