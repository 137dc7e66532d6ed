//! Labs for start scripts.

use attest_lab::{LabContent, LabError, LabProcess, Scripts};

use crate::common::{OpenEnd, end_of, ended, interfaces, network, program, run, shell};

async fn scripts(networks: &[attest_lab::NetworkSpec]) -> Result<LabProcess, LabError> {
    let content = LabContent::Scripts(Scripts {
        containers: false,
        without_kvm: true,
    });
    LabProcess::start(program(), networks, content).await
}

/// A lab, unless the host has none.
async fn lab() -> Option<LabProcess> {
    match scripts(&[]).await {
        Ok(lab) => Some(lab),
        Err(LabError::Setup { what, .. }) if what.contains("namespaces") => {
            eprintln!("skipped: cannot {what}");
            None
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

#[tokio::test]
async fn scripts_share_all_but_processes_with_the_host() {
    let Some(lab) = lab().await else { return };
    let said = run(
        &lab,
        shell("uname -n; id -u; id -g; ls /sys/class/net | sort | tr '\\n' ' '; echo; cat /proc/1/comm"),
    )
    .await;
    let expected = [
        nix::unistd::gethostname()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        nix::unistd::geteuid().to_string(),
        nix::unistd::getegid().to_string(),
        interfaces().into_iter().collect::<Vec<_>>().join(" ") + " ",
        "attest-lab-init".to_owned(),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_kvm_that_runs_no_guests_is_hidden() {
    let Some(lab) = lab().await else { return };
    // Reading /dev/null ends at once, and reading a KVM is refused.
    let said = run(&lab, shell("test ! -e /dev/kvm || cat /dev/kvm; echo done")).await;
    assert_eq!(said, "done\n");
}

#[tokio::test]
async fn what_scripts_started_ends_with_the_lab() {
    let Some(lab) = lab().await else { return };
    let script = shell("trap '' TERM HUP; setsid sleep 1000 & exec sleep 1000").with_open_end();
    let process = lab.spawn(script).await.unwrap();
    let end = end_of(process.pid());
    lab.end().await;
    ended(end).await;
}

#[tokio::test]
async fn containers_have_a_network_of_the_labs_and_others_the_hosts() {
    let content = LabContent::Scripts(Scripts {
        containers: true,
        without_kvm: false,
    });
    let lab = match LabProcess::start(program(), &[], content).await {
        Ok(lab) => lab,
        Err(LabError::Setup { what, source }) => {
            eprintln!("skipped: cannot {what}: {source:?}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let look = "ls /sys/class/net | sort | tr '\\n' ' '; cat /proc/net/dev | grep -c :; \
                stat -f -c %T /sys/fs/cgroup; ls /run/netns";
    let inside = run(&lab, shell(look)).await;
    assert_eq!(inside, "lo 1\ncgroup2fs\nattest-host\n");
    let mut out = shell("cat /proc/net/dev | grep -c :");
    out.on_host_network = true;
    assert_eq!(run(&lab, out).await, format!("{}\n", interfaces().len()));
    lab.end().await;
}

#[tokio::test]
async fn the_hosts_network_is_left_alone() {
    if lab().await.is_none() {
        return;
    }
    let before = interfaces();
    let error = scripts(&[network("lan")]).await.unwrap_err();
    assert!(
        matches!(&error, LabError::Network { what, .. } if what.contains("the host's network")),
        "{error}"
    );
    assert_eq!(interfaces(), before);
}
