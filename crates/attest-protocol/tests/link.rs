//! Sessions over an in-memory stream: streams, windows, cancellation, cuts, hostile peers.

use attest_protocol::frame::{Frame, Kind};
use attest_protocol::link::{
    AgentLink, AgentPort, Channel, HostLink, HostPort, Incoming, LinkError, Stream, WINDOW,
};
use attest_protocol::message::{Hello, Request, Response};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn hello(nonce: u64) -> Hello {
    Hello {
        generation: 1,
        nonce,
        version: "test".into(),
        boot_id: nonce.to_string(),
        uptime_ns: 0,
        is_init: false,
        waits: false,
    }
}

async fn pair() -> (HostPort, HostLink, AgentPort, AgentLink) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let (read, write) = tokio::io::split(near);
    let mut host = HostPort::new(read, write);
    let (read, write) = tokio::io::split(far);
    let mut agent = AgentPort::new(read, write);
    let (accepted, link) = tokio::join!(host.accept(), agent.connect(hello(7)));
    let (host_link, said) = accepted.unwrap();
    assert_eq!(said, hello(7));
    (host, host_link, agent, link.unwrap())
}

/// Answers every request with what it gets on stream 0.
fn echo(mut link: AgentLink) {
    tokio::spawn(async move {
        while let Ok((
            _,
            Channel {
                sender,
                mut receiver,
            },
        )) = link.next().await
        {
            tokio::spawn(async move {
                loop {
                    match receiver.next().await {
                        Ok(Incoming::Data(_, bytes)) => {
                            sender.data(Stream::Out, bytes).await.unwrap();
                        }
                        Ok(Incoming::Eof(_)) => break,
                        _ => return,
                    }
                }
                sender.eof(Stream::Out).unwrap();
                sender.finish(&Ok(Response::Done)).unwrap();
            });
        }
    });
}

async fn send_and_collect(link: &HostLink, bytes: Bytes) -> Vec<u8> {
    let Channel {
        sender,
        mut receiver,
    } = link.open(&Request::Sync).unwrap();
    let sending = async {
        sender.data(Stream::In, bytes).await.unwrap();
        sender.eof(Stream::In).unwrap();
    };
    let collecting = async {
        let mut all = Vec::new();
        loop {
            match receiver.next().await.unwrap() {
                Incoming::Data(_, bytes) => all.extend_from_slice(&bytes),
                Incoming::Finished(result) => {
                    assert_eq!(result, Ok(Response::Done));
                    return all;
                }
                _ => {}
            }
        }
    };
    tokio::join!(sending, collecting).1
}

#[tokio::test]
async fn bytes_come_back_whole_on_many_channels_at_once() {
    let (_host, link, _agent, agent_link) = pair().await;
    echo(agent_link);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0_usize..1000 {
        let link = link.clone();
        tasks.spawn(async move {
            let sent = Bytes::from(vec![u8::try_from(number % 251).unwrap(); number * 13]);
            assert_eq!(send_and_collect(&link, sent.clone()).await, sent);
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

#[tokio::test]
async fn more_than_all_windows_passes() {
    let (_host, link, _agent, agent_link) = pair().await;
    echo(agent_link);
    let sent = Bytes::from(
        (0..20 * WINDOW)
            .map(|at| u8::try_from(at % 253).unwrap())
            .collect::<Vec<_>>(),
    );
    assert!(send_and_collect(&link, sent.clone()).await == sent);
}

#[tokio::test]
async fn a_consumer_that_stops_stops_only_its_own_channel() {
    let (_host, link, _agent, mut agent_link) = pair().await;
    let stuck = link.open(&Request::Sync).unwrap();
    let (_, stuck_agent) = agent_link.next().await.unwrap();
    let flood = tokio::spawn(async move {
        let _ = stuck_agent
            .sender
            .data(Stream::Out, Bytes::from(vec![0; 4 * WINDOW]))
            .await;
    });
    echo(agent_link);
    assert_eq!(
        send_and_collect(&link, Bytes::from_static(b"free")).await,
        b"free"
    );
    assert!(!flood.is_finished());
    drop(stuck);
}

#[tokio::test]
async fn dropping_a_channel_cancels_the_request() {
    let (_host, link, _agent, mut agent_link) = pair().await;
    drop(link.open(&Request::Sync).unwrap());
    let (_, mut channel) = agent_link.next().await.unwrap();
    assert!(matches!(
        channel.receiver.next().await.unwrap(),
        Incoming::Cancelled
    ));
    // What it still sends goes nowhere and does not block it.
    channel
        .sender
        .data(Stream::Out, Bytes::from(vec![0; 3 * WINDOW]))
        .await
        .unwrap();
    channel.sender.finish(&Ok(Response::Done)).unwrap();
    echo(agent_link);
    assert_eq!(
        send_and_collect(&link, Bytes::from_static(b"goes on")).await,
        b"goes on"
    );
}

#[tokio::test]
async fn a_hello_that_cuts_a_frame_begins_a_new_session() {
    let (near, mut far) = tokio::io::duplex(16 * 1024);
    let (read, write) = tokio::io::split(near);
    let mut host = HostPort::new(read, write);
    let say = |nonce| {
        let mut bytes = BytesMut::new();
        Frame::new(Kind::Hello, 0, minicbor::to_vec(hello(nonce)).unwrap()).put(&mut bytes);
        bytes
    };
    far.write_all(b"rubbish of a former session").await.unwrap();
    far.write_all(&say(1)).await.unwrap();
    let (first, _) = host.accept().await.unwrap();
    let channel = first.open(&Request::Sync).unwrap();
    let mut cut = BytesMut::new();
    Frame::new(Kind::DataOut, 1, vec![1; 1000]).put(&mut cut);
    far.write_all(&cut[..500]).await.unwrap();
    far.write_all(&say(2)).await.unwrap();
    let (_second, said) = host.accept().await.unwrap();
    assert_eq!(said.nonce, 2);
    assert_eq!(first.ended().await, LinkError::Closed);
    let mut receiver = channel.receiver;
    assert_eq!(receiver.next().await.unwrap_err(), LinkError::Closed);
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_ends_its_session_only() {
    for bad in [
        Frame::new(Kind::DataOut, 1, Bytes::new()),
        Frame::new(Kind::Credit, 1, vec![1, 255, 255, 255, 255]),
        Frame::new(Kind::Open, 3, minicbor::to_vec(Request::Sync).unwrap()),
        Frame::new(Kind::Finished, 1, vec![255; 9]),
        Frame::new(Kind::Notice, 9, vec![0]),
    ] {
        let (near, mut far) = tokio::io::duplex(1024 * 1024);
        let (read, write) = tokio::io::split(near);
        let mut host = HostPort::new(read, write);
        let mut bytes = BytesMut::new();
        Frame::new(Kind::Hello, 0, minicbor::to_vec(hello(1)).unwrap()).put(&mut bytes);
        far.write_all(&bytes).await.unwrap();
        let (link, _) = host.accept().await.unwrap();
        let _channel = link.open(&Request::Sync).unwrap();
        // Beyond its window with the data frame, by repetition; at once with the others.
        let mut bytes = BytesMut::new();
        for _ in 0..=WINDOW / 1024 {
            let frame = if bad.kind == Kind::DataOut {
                Frame::new(bad.kind, 1, vec![0; 1024])
            } else {
                bad.clone()
            };
            frame.put(&mut bytes);
        }
        far.write_all(&bytes).await.unwrap();
        assert!(
            matches!(link.ended().await, LinkError::Protocol(_)),
            "{bad:?}"
        );
        // Another session can follow on the same stream.
        let mut bytes = BytesMut::new();
        Frame::new(Kind::Hello, 0, minicbor::to_vec(hello(2)).unwrap()).put(&mut bytes);
        far.write_all(&bytes).await.unwrap();
        assert_eq!(host.accept().await.unwrap().1.nonce, 2);
    }
}

#[tokio::test]
async fn the_end_of_the_stream_ends_everything() {
    let (mut host, link, agent, agent_link) = pair().await;
    let mut channel = link.open(&Request::Sync).unwrap();
    drop((agent, agent_link));
    assert!(channel.receiver.next().await.is_err());
    assert!(
        channel
            .sender
            .data(Stream::In, Bytes::from_static(b"x"))
            .await
            .is_err()
    );
    link.ended().await;
    assert!(link.open(&Request::Sync).is_err());
    assert!(host.accept().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_agent_repeats_its_hello_until_it_is_answered() {
    let (near, far) = tokio::io::duplex(1024);
    let (read, write) = tokio::io::split(far);
    let mut agent = AgentPort::new(read, write);
    let connecting =
        tokio::spawn(async move { agent.connect(hello(3)).await.map(|link| (link, agent)) });
    let (mut read, mut write) = tokio::io::split(near);
    // The first hello is lost, as if the host were not there yet.
    let mut lost = vec![0; 16];
    read.read_exact(&mut lost).await.unwrap();
    write.write_all(b"left over").await.unwrap();
    let mut host = HostPort::new(read, write);
    assert_eq!(host.accept().await.unwrap().1.nonce, 3);
    connecting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_host_that_knocks_gets_a_session_of_its_own() {
    let (mut near, far) = tokio::io::duplex(16 * 1024);
    let (read, write) = tokio::io::split(far);
    let mut agent = AgentPort::new(read, write);
    // As a virtual machine's port: who has the other end changes, and the agent sees nothing of it.
    let (mut relayed, first) = tokio::io::duplex(16 * 1024);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = tokio::spawn(async move {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut relayed) => {}
            _ = stopped => {}
        }
        near
    });
    let (read, write) = tokio::io::split(first);
    let mut host = HostPort::new(read, write);
    let (accepted, link) = tokio::join!(host.accept(), agent.connect(hello(7)));
    let (_, mut link) = (accepted.unwrap(), link.unwrap());
    stop.send(()).unwrap();
    let (read, write) = tokio::io::split(relay.await.unwrap());
    let mut host = HostPort::knocking(read, write);
    let ended = link.next().await.unwrap_err();
    assert_eq!(ended, LinkError::Closed);
    let (accepted, link) = tokio::join!(host.accept(), agent.connect(hello(8)));
    let (host_link, said) = accepted.unwrap();
    assert_eq!(said, hello(8));
    echo(link.unwrap());
    let sent = Bytes::from_static(b"here");
    assert_eq!(send_and_collect(&host_link, sent.clone()).await, sent);
}
