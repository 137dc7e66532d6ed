//! The backend `ssh`, against a server of the test's own on the loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use attest::events::MachineEnding;
use attest::manifest::Ssh;
use attest::{Backend, Error, Lab, LabBuilder, Run};

use crate::debian::can;
use crate::labs::run;

/// A server of OpenSSH, as long as it lives.
struct Server {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Server {
    /// Start one; `None`, after saying so, where there is none.
    fn start(test: &str) -> Option<Self> {
        let found = attest_vmm::installed_program("sshd", "install the package openssh-server")
            .and_then(|sshd| attest_vmm::ssh::probe().map(|_| sshd));
        let found = found.and_then(|sshd| {
            // It drops to the user that runs it; to another it cannot without root.
            let is_root = nix_is_root();
            is_root.then_some(sshd).ok_or("sshd needs root".to_owned())
        });
        if !can(test, &found) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        // Where the server keeps what it does not need to: it insists.
        fs::create_dir_all("/run/sshd").expect("the directory of sshd");
        for key in ["host", "id"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.path().join(key))
                .status();
            assert!(made.is_ok_and(|status| status.success()), "a key");
        }
        fs::copy(
            directory.path().join("id.pub"),
            directory.path().join("allowed"),
        )
        .expect("the allowed keys");
        let port = free_port();
        let child = serve(&found.ok()?, directory.path(), port);
        Some(Self {
            child,
            port,
            directory,
        })
    }

    fn lab(&self, set: impl FnOnce(&mut Ssh)) -> LabBuilder {
        let mut ssh = Ssh {
            host: "127.0.0.1".to_owned(),
            port: Some(self.port),
            identity: Some(self.directory.path().join("id")),
            options: [
                "StrictHostKeyChecking=no",
                "UserKnownHostsFile=/dev/null",
                "LogLevel=ERROR",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Ssh::default()
        };
        set(&mut ssh);
        Lab::builder().machine_with("a", |machine| {
            machine.backend = Some(Backend::Ssh);
            machine.ssh = Some(ssh);
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Nobody else takes it in between: the kernel hands out others first.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

fn serve(sshd: &Path, directory: &Path, port: u16) -> Child {
    let path = |name: &str| directory.join(name).display().to_string();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
         StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n",
        path("host"),
        path("allowed"),
    );
    fs::write(directory.join("config"), config).expect("its configuration");
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("its directory");
    let mut child = Command::new(sshd)
        .args(["-D", "-e", "-f", &path("config")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sshd starts");
    let mut said = BufReader::new(child.stderr.take().expect("its words")).lines();
    let listens = said.by_ref().map_while(Result::ok);
    let listens = listens
        .take_while(|line| !line.contains("Server listening"))
        .count();
    assert!(listens < 100, "sshd listens");
    // It must never wait for a reader.
    std::thread::spawn(move || said.count());
    child
}

/// Files of agents that are left on this host.
fn agents() -> Vec<PathBuf> {
    let places = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
    places
        .iter()
        .flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("attest-agent"))
        .collect()
}

#[test]
fn a_host_is_a_machine_and_nothing_is_left_on_it() {
    let Some(server) = Server::start("a_host_is_a_machine_and_nothing_is_left_on_it") else {
        return;
    };
    run(server.lab(|_| {}), async |lab| {
        let a = lab.machine("a")?;
        let said = a
            .shell("echo out; echo err >&2; exit 3")
            .ignore_status()
            .await?;
        assert_eq!(
            (said.text().as_str(), said.stderr.as_slice()),
            ("out\n", &b"err\n"[..])
        );
        a.wait_for_port(server.port).await?;
        let place = server.directory.path().join("copy");
        a.upload(server.directory.path().join("config"), &place)
            .await?;
        let same = format!("cmp {0}/config {0}/copy", server.directory.path().display());
        a.shell(same).await?;
        // It is another's: it keeps its name, and its life is not attest's.
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        assert_eq!(a.shell("cat /proc/sys/kernel/hostname").await?.text(), own);
        for refused in [a.reboot().await, a.power_off().await, a.pause().await] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
        }
        let pid = a.shell("echo $PPID").await?.text();
        assert!(Path::new("/proc").join(pid.trim()).exists(), "{pid}");
        Ok(())
    });
    assert_eq!(agents(), Vec::<PathBuf>::new());
}

#[test]
fn a_connection_that_is_cut_ends_the_machine() {
    let Some(server) = Server::start("a_connection_that_is_cut_ends_the_machine") else {
        return;
    };
    run(server.lab(|_| {}), async |lab| {
        let a = lab.machine("a")?;
        // The process of the server that carries this connection.
        let cut = "p=$$; while [ \"$(cat /proc/$p/comm)\" != sshd ]; do \
                   p=$(awk '{print $4}' /proc/$p/stat); done; kill $p";
        let error = a.shell(cut).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::MachineEnded {
                    ending: MachineEnding::Disconnected,
                    ..
                }
            ),
            "{error:?}"
        );
        a.start().await?;
        assert_eq!(a.shell("echo again").await?.text(), "again\n");
        Ok(())
    });
}

#[test]
fn hosts_that_cannot_be_reached_say_why() {
    let Some(server) = Server::start("hosts_that_cannot_be_reached_say_why") else {
        return;
    };
    let said = |set: fn(&mut Ssh)| {
        let error = server.lab(set).boot().run().map(drop).unwrap_err();
        error.chain()
    };
    let refused = said(|ssh| ssh.port = Some(1));
    assert!(
        refused.contains("a: ") && refused.contains("Connection refused"),
        "{refused}"
    );
    let unknown = said(|ssh| ssh.user = Some("nobody-of-this-name".to_owned()));
    assert!(unknown.contains("Permission denied"), "{unknown}");
    let stranger = said(|ssh| {
        ssh.options = vec![
            "StrictHostKeyChecking=yes".to_owned(),
            "UserKnownHostsFile=/dev/null".to_owned(),
        ];
    });
    assert!(
        stranger.contains("Host key verification failed"),
        "{stranger}"
    );
}
