use std::fs;
use std::os::unix::fs::symlink;

use attest_protocol::frame::{Frame, Kind};
use attest_protocol::link::{AgentPort, HostPort};
use attest_protocol::message::{
    Condition, Control, Failure, FailureCode, Notice, Request, Response, Setup, Stats, Wait,
    Welcome,
};
use attest_protocol::tree::pack;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::link::{ROOM, alone, answers, hello, requests};

/// Where the fuzzer of a target begins: inputs that are well-formed, so that it gets far.
///
/// # Panics
/// When there is no such target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "frames" => {
            let (to_host, to_agent) = session();
            vec![whole(&to_host), whole(&to_agent), bytewise(&greeting())]
        }
        "host" => vec![whole(&session().0), bytewise(&session().0)],
        "agent" => vec![whole(&session().1), bytewise(&session().1)],
        "messages" => messages(),
        "tree" => vec![tree()],
        "shell" => shell(),
        "screen" => vec![b"P6\n4 2\n255\nthree bytes for each.   ".to_vec()],
        other => panic!("there is no target `{other}`"),
    }
}

/// The first byte has it arrive in large pieces.
fn whole(bytes: &[u8]) -> Vec<u8> {
    [&[u8::MAX], bytes].concat()
}

fn bytewise(bytes: &[u8]) -> Vec<u8> {
    [&[0], bytes].concat()
}

fn greeting() -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let hello = minicbor::to_vec(hello()).expect("memory takes it");
    Frame::new(Kind::Hello, 0, hello).put(&mut bytes);
    bytes.to_vec()
}

/// What an agent and a host say to each other in one session.
fn session() -> (Vec<u8>, Vec<u8>) {
    alone(async {
        let (hosts, near) = tokio::io::duplex(ROOM);
        let (agents, far) = tokio::io::duplex(ROOM);
        let (read, write) = tokio::io::split(hosts);
        let mut host = HostPort::new(read, write);
        let (read, write) = tokio::io::split(agents);
        let mut agent = AgentPort::new(read, write);
        let recording = tokio::spawn(record(far, near));
        let asking = async {
            let (link, _) = host.accept().await.expect("the agent says hello");
            requests(link).await;
            drop(host);
        };
        let answering = async {
            if let Ok(link) = agent.connect(hello()).await {
                answers(link).await;
            }
        };
        tokio::join!(asking, answering);
        drop(agent);
        recording.await.expect("it does not panic")
    })
}

/// Stand between the two; what came from the first, and what came from the second.
async fn record(agent: DuplexStream, host: DuplexStream) -> (Vec<u8>, Vec<u8>) {
    let (agent_read, agent_write) = tokio::io::split(agent);
    let (host_read, host_write) = tokio::io::split(host);
    let to_host = tokio::spawn(carry(agent_read, host_write));
    let to_agent = tokio::spawn(carry(host_read, agent_write));
    let both = tokio::join!(to_host, to_agent);
    (both.0.expect("no panic"), both.1.expect("no panic"))
}

async fn carry(
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let before = all.len();
        match from.read_buf(&mut all).await {
            Ok(1..) if to.write_all(&all[before..]).await.is_ok() => {}
            _ => break,
        }
    }
    let _ = to.shutdown().await;
    all
}

fn messages() -> Vec<Vec<u8>> {
    let wait = Wait {
        condition: Condition::PortOpen("localhost".to_owned(), 80),
        timeout_ms: 1000,
    };
    let failure = Failure {
        code: FailureCode::TimedOut,
        message: "too late".to_owned(),
        last_seen: Some("nothing".to_owned()),
    };
    let welcome = Welcome {
        generation: 1,
        nonce: 7,
    };
    let written = [
        minicbor::to_vec(hello()),
        minicbor::to_vec(welcome),
        minicbor::to_vec(Request::Wait(wait)),
        minicbor::to_vec(Request::Setup(Setup::default())),
        minicbor::to_vec(Response::Stats(Stats::default())),
        minicbor::to_vec(Control::Signal(9)),
        minicbor::to_vec(Notice::Started(1)),
        minicbor::to_vec(failure),
    ];
    written
        .into_iter()
        .map(|bytes| bytes.expect("memory takes it"))
        .collect()
}

/// Answers to a few lines, and a boot in the middle of one.
fn shell() -> Vec<Vec<u8>> {
    let announcement = attest_backdoor::ANNOUNCEMENT;
    let answers = format!("aGVsbG8K\n0\naGk=\r\n127\r\n\n1\naGVs{announcement}\n");
    vec![whole(answers.as_bytes()), bytewise(answers.as_bytes())]
}

fn tree() -> Vec<u8> {
    let place = tempfile::tempdir().expect("a directory");
    let tree = place.path().join("tree");
    let made = fs::create_dir_all(tree.join("inner"))
        .and_then(|()| fs::write(tree.join("inner/file"), "contents"))
        .and_then(|()| symlink("inner/file", tree.join("link")))
        .and_then(|()| fs::hard_link(tree.join("inner/file"), tree.join("other")));
    made.expect("a tree of four");
    let mut stream = Vec::new();
    pack(&tree, &mut stream).expect("it is packed");
    stream
}
