use attest_protocol::message::{ExitStatus, RawBytes, Request, Response, Setup, TerminalSize};

use crate::support::{argv, bash, call, exited, finish, run, shell};

#[tokio::test]
async fn commands_have_their_stdout_and_status() {
    let guest = bash().await;
    for (command, code, output) in [
        ("true", 0, ""),
        ("echo hello", 0, "hello\n"),
        ("echo one; exit 7", 7, "one\n"),
        ("echo \"it's \\$HOME\"; echo lost >&2", 0, "it's $HOME\n"),
        ("false | true", 1, ""),
        ("echo $UNSET_VARIABLE", 1, ""),
        ("printf 'no newline'", 0, "no newline"),
        ("# only a comment", 0, ""),
        ("cat <<E\ntext\nE", 0, "text\n"),
        ("kill -9 $$", 137, ""),
        // Neither the next line nor this one's answer is swallowed.
        ("cat; read -r x || echo nothing", 0, "nothing\n"),
        ("exit", 0, ""),
        ("echo )", 2, ""),
    ] {
        assert_eq!(
            run(&guest.link, shell(command)).await,
            (code, output.as_bytes().to_vec()),
            "{command}"
        );
    }
    let words = ["printf", "%s|", "a b", "", "it's", "$HOME", "\n", "ü"];
    let (code, output) = run(&guest.link, argv(&words)).await;
    assert_eq!(
        (code, output.as_slice()),
        (0, "a b||it's|$HOME|\n|ü|".as_bytes())
    );
    assert_eq!(run(&guest.link, argv(&["/nowhere"])).await.0, 127);
}

#[tokio::test]
async fn output_of_any_size_and_kind_comes_whole() {
    let guest = bash().await;
    let (code, output) = run(&guest.link, shell("head -c 100000000 /dev/zero")).await;
    assert_eq!((code, output.len()), (0, 100_000_000));
    let (_, output) = run(&guest.link, shell("printf '\\0\\1\\377\\r\\n'")).await;
    assert_eq!(output, b"\0\x01\xff\r\n");
}

#[tokio::test]
async fn a_command_of_any_length_runs() {
    let guest = bash().await;
    // A message of the protocol holds 64 KiB.
    for length in [1000, 20_000, 65_000] {
        let text = "x".repeat(length);
        let command = format!("a={text}; echo ${{#a}}; cat; exit 3");
        let (code, output) = run(&guest.link, shell(command)).await;
        assert_eq!((code, output), (3, format!("{length}\n").into_bytes()));
    }
}

#[tokio::test]
async fn environment_directory_and_stdin() {
    let guest = bash().await;
    let setup = Setup {
        environment: vec![("OF_ALL".to_owned(), "it's all".to_owned())],
        ..Setup::default()
    };
    assert_eq!(
        call(&guest.link, &Request::Setup(setup)).await,
        Ok(Response::Done)
    );
    let mut exec = shell("echo \"$OF_ALL $OWN\"; pwd; cat; read -r x || echo over");
    exec.environment = vec![(
        RawBytes::from(b"OWN".to_vec()),
        RawBytes::from(b"'q'".to_vec()),
    )];
    exec.directory = Some(RawBytes::from(b"/usr".to_vec()));
    exec.stdin = true;
    let (exited_well, output) = exited(&guest.link, exec.clone(), b"fed\0\n").await;
    assert_eq!(exited_well.status, ExitStatus::Code(0));
    assert_eq!(output, b"it's all 'q'\n/usr\nfed\0\nover\n");
    // What the command leaves of its stdin is not for the shell; nor does it block it.
    let mut large = shell("head -c 3; exec 0<&-; exit 5");
    large.stdin = true;
    let input = b"echo evil\n".repeat(200_000);
    let (exited_early, output) = exited(&guest.link, large, &input).await;
    assert_eq!(
        (exited_early.status, output),
        (ExitStatus::Code(5), b"ech".to_vec())
    );
    let mut echoing = shell("cat");
    echoing.stdin = true;
    let (_, output) = exited(&guest.link, echoing, &input).await;
    assert!(output == input);
    exec.directory = Some(RawBytes::from(b"/nowhere".to_vec()));
    assert_eq!(run(&guest.link, exec).await.0, 126);
}

#[tokio::test]
async fn commands_take_turns_in_their_order() {
    let guest = bash().await;
    let channels: Vec<_> = (0..20)
        .map(|number| {
            guest
                .link
                .open(&Request::Exec(shell(format!("echo {number}"))))
                .unwrap()
        })
        .collect();
    for (number, channel) in channels.into_iter().enumerate() {
        assert_eq!(finish(channel).await.1, format!("{number}\n").into_bytes());
    }
}

#[tokio::test]
async fn time_runs_out_and_is_told_from_a_status() {
    let guest = bash().await;
    let mut slow = shell("echo early; sleep 60");
    slow.timeout_ms = Some(300);
    let (slow, output) = exited(&guest.link, slow, b"").await;
    assert_eq!((slow.status, slow.timed_out), (ExitStatus::Code(124), true));
    assert_eq!(output, b"early\n");
    let (own, _) = exited(&guest.link, shell("exit 124"), b"").await;
    assert!(!own.timed_out);
    let mut stubborn = shell("trap '' TERM; while :; do sleep 0.1; done");
    stubborn.timeout_ms = Some(200);
    let (stubborn, _) = exited(&guest.link, stubborn, b"").await;
    assert_eq!(
        (stubborn.status, stubborn.timed_out),
        (ExitStatus::Code(137), true)
    );
}

#[tokio::test]
async fn what_a_root_shell_cannot_is_said() {
    let guest = bash().await;
    let mut terminal = shell("true");
    terminal.pty = Some(TerminalSize {
        rows: 1,
        columns: 1,
    });
    let setup = Setup {
        hostname: "name".to_owned(),
        ..Setup::default()
    };
    for request in [
        Request::Exec(terminal),
        Request::Setup(setup),
        Request::Thaw,
        Request::Boot,
        Request::Exec(shell("a\0b")),
        Request::Exec(argv(&[])),
    ] {
        let failure = call(&guest.link, &request).await.unwrap_err();
        assert!(!failure.message.is_empty());
    }
    assert_eq!(call(&guest.link, &Request::Sync).await, Ok(Response::Done));
    let Ok(Response::Stats(stats)) = call(&guest.link, &Request::Stats).await else {
        panic!("no stats");
    };
    assert!(stats.uptime_ns > 0 && stats.memory_total > 0 && stats.clock_ns > 0);
}

#[tokio::test]
async fn users_run_commands_in_their_homes() {
    let is_root = std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:\t0\t"));
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    if !is_root || !users.lines().any(|line| line.starts_with("nobody:")) {
        eprintln!("SKIPPED: only root may run commands as others");
        return;
    }
    let guest = bash().await;
    let mut exec = shell("id -un; echo \"$USER it's $OWN\"; exit 4");
    exec.user = Some("nobody".to_owned());
    exec.environment = vec![(
        RawBytes::from(b"OWN".to_vec()),
        RawBytes::from(b"own".to_vec()),
    )];
    let (code, output) = run(&guest.link, exec).await;
    let output = String::from_utf8(output).unwrap();
    assert_eq!((code, output.as_str()), (4, "nobody\nnobody it's own\n"));
    let mut unknown = shell("true");
    unknown.user = Some("nobody's".to_owned());
    assert_ne!(run(&guest.link, unknown).await.0, 0);
}
