//! What a plug-in may do at most, where the pipeline says `sandbox: true`: read files, and write into its own temporary
//! folder. No network, no other files, no signals to others.
//!
//! Owns the way there: the child is our own binary first, which gives these rights away and then becomes the plug-in; so
//! nothing is done between fork and exec but what the standard library does. Whatever cannot be enforced is an error:
//! rights are given away as a whole or the plug-in does not start.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The hidden verb of our binary.
pub const VERB: &str = "sandboxed";

/// The command that becomes `program` with rights given away; the program's arguments follow.
pub(super) fn command(secateur: &Path, folder: &Path, program: &Path) -> Command {
    let mut command = Command::new(secateur);
    command
        .arg(VERB)
        .arg(super::helper::temporary(folder))
        .arg("--")
        .arg(program);
    command
}

/// Why the sandbox cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox cannot be had: {0}; without `sandbox: true` the plug-in runs with all of your rights")]
    Rights(String),
    #[error("{program} cannot be started: {source}")]
    Start { program: String, source: std::io::Error },
}

/// Gives this process's rights away and becomes the program.
///
/// # Errors
/// When a right cannot be given away, or the program not be started.
pub fn enter(writable: &Path, program: &OsString, arguments: &[OsString]) -> Result<Infallible, SandboxError> {
    use std::os::unix::process::CommandExt;
    rights::limit().map_err(SandboxError::Rights)?;
    rights::restrict(writable).map_err(SandboxError::Rights)?;
    Err(SandboxError::Start {
        program: program.to_string_lossy().into_owned(),
        source: Command::new(program).args(arguments).exec(),
    })
}

#[cfg(target_os = "linux")]
mod rights {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetStatus, Scope, path_beneath_rules,
    };
    use rustix::process::{Resource, Rlimit, setrlimit};
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
        apply_filter,
    };
    use std::collections::BTreeMap;
    use std::path::Path;

    /// No core files, no file of more than 1 GiB, at most 1024 descriptors.
    pub fn limit() -> Result<(), String> {
        let limits = [
            (Resource::Core, "core files", 0),
            (Resource::Fsize, "sizes of files", 1 << 30),
            (Resource::Nofile, "descriptors", 1024),
        ];
        for (resource, what, most) in limits {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            setrlimit(resource, limit).map_err(|error| format!("{what} cannot be limited: {error}"))?;
        }
        Ok(())
    }

    /// Reading anywhere, writing below one folder; no network.
    pub fn restrict(writable: &Path) -> Result<(), String> {
        // The first version that knows the network.
        let abi = ABI::V4;
        let told = |error: landlock::RulesetError| {
            format!("Landlock with network rules (Linux 6.7 or newer, switched on) is needed: {error}")
        };
        let everything = AccessFs::from_all(abi);
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(everything)
            .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
            .and_then(|rules| {
                // Newer kernels also keep it from signals and abstract sockets.
                rules
                    .set_compatibility(CompatLevel::BestEffort)
                    .scope(Scope::from_all(ABI::V6))
            })
            .and_then(|rules| rules.set_compatibility(CompatLevel::HardRequirement).create())
            .map_err(told)?;
        let status = ruleset
            .add_rules(path_beneath_rules(["/"], AccessFs::from_read(abi)))
            .and_then(|rules| rules.add_rules(path_beneath_rules([writable], everything)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(["/dev/null"], AccessFs::from_file(abi))))
            .and_then(|rules| rules.restrict_self())
            .map_err(told)?;
        // The library may report success with less than was asked for.
        if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
            return Err(format!("Landlock enforces nothing here ({:?})", status.ruleset));
        }
        no_sockets().map_err(|error| format!("a seccomp filter is needed: {error}"))
    }

    /// Landlock knows TCP only: no sockets but those of this machine's own files, and no way around system calls.
    fn no_sockets() -> Result<(), Box<dyn std::error::Error>> {
        let family = u64::from(libc::AF_UNIX.unsigned_abs());
        let foreign = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)?;
        let rules = BTreeMap::from([
            (libc::SYS_socket, vec![SeccompRule::new(vec![foreign])?]),
            (libc::SYS_io_uring_setup, Vec::new()),
        ]);
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
        let program: seccompiler::BpfProgram = filter.try_into()?;
        Ok(apply_filter(&program)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod rights {
    use std::path::Path;

    pub fn limit() -> Result<(), String> {
        Ok(())
    }

    pub fn restrict(_: &Path) -> Result<(), String> {
        Err("it needs Linux".into())
    }
}
