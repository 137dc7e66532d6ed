use attest_backdoor::{ANNOUNCEMENT, Happened};
use attest_protocol::link::{HostPort, Incoming, LinkError};
use attest_protocol::message::{FailureCode, Request, Setup};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::support::{bash, call, host, host_with, run, shell, start, start_bash};

#[tokio::test]
async fn noise_before_the_announcement_is_kept_for_people() {
    let guest = bash().await;
    let happened = guest.happened.lock().unwrap().clone();
    assert_eq!(
        happened[0],
        Happened::Announced {
            before: "[    1.0] noise\r\n".to_owned()
        }
    );
}

#[tokio::test]
async fn a_shell_that_dies_ends_the_link_and_says_so() {
    let mut guest = bash().await;
    let shell_id = guest
        .shell
        .as_ref()
        .and_then(tokio::process::Child::id)
        .unwrap();
    let killing = shell(format!("kill -9 {shell_id}"));
    let channel = guest.link.open(&Request::Exec(killing)).unwrap();
    let mut receiver = channel.receiver;
    let lost = loop {
        if let Err(lost) = receiver.next().await {
            break lost;
        }
    };
    assert_eq!(lost, LinkError::Closed);
    assert!(guest.port.accept().await.is_err());
    assert!(matches!(
        guest.happened.lock().unwrap().last(),
        Some(Happened::ShellEnded { .. })
    ));
    guest.shell.take().unwrap().wait().await.unwrap();
}

/// A shell that answers what it is told to.
fn scripted(answers: &'static [&'static str]) -> (HostPort, tokio::task::JoinHandle<()>) {
    let (terminal, far) = UnixStream::pair().unwrap();
    let (port, _) = host(terminal);
    let serving = tokio::spawn(async move {
        let (reader, mut writer) = far.into_split();
        writer
            .write_all(format!("{ANNOUNCEMENT}\n").as_bytes())
            .await
            .unwrap();
        let mut lines = BufReader::new(reader).lines();
        let mut answers = answers.iter();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = if let Some((_, mark)) = line.split_once("attest- ") {
                format!("\nattest-{mark}\n")
            } else if line.is_empty() || line.starts_with(": ") {
                continue;
            } else if line.contains("boot_id") {
                "eAo=\n0\n".to_owned()
            } else if let Some(answer) = answers.next() {
                (*answer).to_owned()
            } else {
                continue;
            };
            if writer.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    (port, serving)
}

#[tokio::test]
async fn nonsense_is_said_and_overcome() {
    let (mut port, _serving) =
        scripted(&["bash: no base64: x\n0\n", "aGk=\nnonsense\n", "aGk=\n0\n"]);
    let (link, _) = port.accept().await.unwrap();
    let failure = call(&link, &Request::Exec(shell("one"))).await.unwrap_err();
    assert!(
        failure
            .message
            .contains("`bash: no base64: x` where output"),
        "{failure:?}"
    );
    let failure = call(&link, &Request::Exec(shell("two"))).await.unwrap_err();
    assert!(
        failure.message.contains("`nonsense` where an exit status"),
        "{failure:?}"
    );
    assert_eq!(run(&link, shell("three")).await, (0, b"hi".to_vec()));
}

/// As guests do that boot side by side on too few processors.
#[tokio::test]
async fn a_shell_that_was_asked_twice_before_it_answers_makes_sense() {
    let (terminal, guest) = UnixStream::pair().unwrap();
    let (mut port, _) = host(terminal);
    let script = format!(
        "echo '{ANNOUNCEMENT}'; while read -r line; do all+=\"$line\"$'\\n'; \
         case $line in *' attest- '*) asked+=x;; esac; [ \"$asked\" = xx ] && break; done; \
         {{ printf %s \"$all\"; cat; }} | bash --norc"
    );
    let _shell = start(guest, &script);
    let (link, _) = port.accept().await.unwrap();
    let greeting = shell("echo it\\'s \\\"me\\\"");
    assert_eq!(run(&link, greeting).await, (0, b"it's \"me\"\n".to_vec()));
}

#[tokio::test]
async fn a_boot_in_the_middle_of_an_answer_ends_the_session_only() {
    let (mut port, _serving) = scripted(&[
        "aGVsbG8Spawning backdoor root shell...\n",
        "aGk=\n0\n",
        "aGk=\nSpawning backdoor root shell...\n",
        // Whether the answer arrives is a race that the boot may win.
        "aGk=\n0\n[  1.0] Linux\nSpawning backdoor root shell...\n",
        "aGk=\n0\n",
    ]);
    let (mut link, hello) = port.accept().await.unwrap();
    let mut nonces = vec![hello.nonce];
    for answered in [Some(false), Some(true), Some(false), None] {
        let mut channel = link.open(&Request::Exec(shell("command"))).unwrap();
        let mut finished = false;
        while let Ok(incoming) = channel.receiver.next().await {
            finished |= matches!(incoming, Incoming::Finished(Ok(_)));
        }
        assert_eq!(finished, answered.unwrap_or(finished));
        if answered != Some(true) {
            let (next, hello) = port.accept().await.unwrap();
            link = next;
            nonces.push(hello.nonce);
        }
    }
    assert_eq!(run(&link, shell("found")).await, (0, b"hi".to_vec()));
    nonces.dedup();
    assert_eq!(nonces.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_shell_that_does_not_answer_is_stuck_by_name() {
    let (mut port, _serving) = scripted(&[]);
    let (link, _) = port.accept().await.unwrap();
    let mut hanging = shell("hang here");
    hanging.timeout_ms = Some(2000);
    let first = call(&link, &Request::Exec(hanging)).await.unwrap_err();
    assert_eq!(first.code, FailureCode::TimedOut);
    assert!(
        first.message.contains("no answer to `hang here`"),
        "{first:?}"
    );
    let next = call(&link, &Request::Exec(shell("true")))
        .await
        .unwrap_err();
    assert!(
        next.message.contains("still busy with `hang here`"),
        "{next:?}"
    );
}

#[tokio::test]
async fn a_guest_without_base64_fails_by_name() {
    let (terminal, guest) = UnixStream::pair().unwrap();
    let (mut host, _) = host(terminal);
    let script = format!("echo '{ANNOUNCEMENT}'; PATH=/nowhere exec $BASH --norc");
    let _shell = start(guest, &script);
    let (link, _) = host.accept().await.unwrap();
    for request in [
        Request::Setup(Setup::default()),
        Request::Exec(shell("echo")),
    ] {
        let failure = call(&link, &request).await.unwrap_err();
        assert!(failure.message.contains("`base64`"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_guest_without_a_port_is_served_by_its_shell() {
    let (terminal, guest) = UnixStream::pair().unwrap();
    let (port, _far) = UnixStream::pair().unwrap();
    let agent = Some(b"an agent".as_slice().into());
    let (mut host, happened) = host_with(terminal, Some(port), agent);
    let _shell = start_bash(guest, "");
    let (link, _) = host.accept().await.unwrap();
    assert_eq!(run(&link, shell("echo well")).await.1, b"well\n");
    let reason = "the guest has no virtio-serial port named org.attest.agent".to_owned();
    assert_eq!(happened.lock().unwrap()[1], Happened::NotPushed { reason });
}
