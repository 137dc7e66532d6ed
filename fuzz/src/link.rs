use std::time::Duration;

use attest_protocol::link::{AgentLink, AgentPort, Channel, HostLink, HostPort, Incoming, Stream};
use attest_protocol::message::{
    Download, Endpoint, Exec, Hello, Program, Request, Response, Upload,
};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes between the two ends: less than a window, so that both wait now and then.
pub(crate) const ROOM: usize = 16 * 1024;

/// What an agent could send to a host that has requests open: the host comes to an end.
pub fn host(data: &[u8]) {
    alone(async {
        let (near, far) = tokio::io::duplex(ROOM);
        let (read, write) = tokio::io::split(near);
        let mut port = HostPort::new(read, write);
        let serving = async {
            while let Ok((link, _)) = port.accept().await {
                tokio::spawn(requests(link));
            }
        };
        tokio::join!(serving, feed(far, data));
    });
}

/// What a host could send to an agent that answers: the agent comes to an end.
pub fn agent(data: &[u8]) {
    alone(async {
        let (near, far) = tokio::io::duplex(ROOM);
        let (read, write) = tokio::io::split(near);
        let mut port = AgentPort::new(read, write);
        let serving = async {
            while let Ok(link) = port.connect(hello()).await {
                answers(link).await;
            }
        };
        tokio::join!(serving, feed(far, data));
    });
}

/// One that says this always, so that recorded answers are answers to it.
pub(crate) fn hello() -> Hello {
    Hello {
        generation: attest_protocol::GENERATION,
        nonce: 7,
        version: "fuzz".to_owned(),
        boot_id: "first".to_owned(),
        uptime_ns: 1,
        is_init: true,
        waits: false,
    }
}

/// On one thread, with a clock that stands still while there is anything to do.
pub(crate) fn alone<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing of the host");
    runtime.block_on(work)
}

/// Send the pieces and close, reading and dropping whatever is answered.
async fn feed(peer: DuplexStream, data: &[u8]) {
    let (mut read, mut write) = tokio::io::split(peer);
    let sending = async {
        for piece in crate::pieces(data) {
            if write.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The other side may be gone already.
        let _ = write.shutdown().await;
    };
    let dropping = async {
        let mut buffer = vec![0; ROOM];
        while let Ok(1..) = read.read(&mut buffer).await {}
    };
    // What is still to be answered has no reader any more: a moment is enough for the rest.
    let rest = tokio::time::timeout(Duration::from_millis(1), dropping);
    tokio::select! {
        ((), _) = async { tokio::join!(sending, rest) } => {}
    }
}

/// A request of each shape, taken to its end, all at once.
pub(crate) async fn requests(link: HostLink) {
    let shell = Exec {
        program: Program::Shell(b"true".to_vec().into()),
        environment: Vec::new(),
        directory: None,
        user: None,
        stdin: true,
        pty: None,
        timeout_ms: None,
    };
    let path = || b"/tmp/file".to_vec().into();
    let all = [
        Request::Exec(shell),
        Request::Upload(Upload { path: path() }),
        Request::Download(Download { path: path() }),
        Request::Listen(Endpoint::Unix(path())),
        Request::Stats,
    ];
    let mut open = Vec::new();
    for request in all {
        if let Ok(channel) = link.open(&request) {
            open.push(tokio::spawn(talk(channel)));
        }
    }
    for one in open {
        one.await.expect("it does not panic");
    }
}

async fn talk(channel: Channel) {
    let Channel {
        sender,
        mut receiver,
    } = channel;
    let text = Bytes::from_static(&[b'x'; 512]);
    let _ = tokio::time::timeout(Duration::from_millis(1), sender.data(Stream::In, text)).await;
    let _ = sender.eof(Stream::In);
    while let Ok(item) = receiver.next().await {
        if matches!(item, Incoming::Finished(_)) {
            break;
        }
    }
}

/// Every request is answered with what it sends.
pub(crate) async fn answers(mut link: AgentLink) {
    while let Ok((_, channel)) = link.next().await {
        tokio::spawn(echo(channel));
    }
}

async fn echo(channel: Channel) {
    let Channel {
        sender,
        mut receiver,
    } = channel;
    while let Ok(item) = receiver.next().await {
        let sent = match item {
            Incoming::Data(_, bytes) => sender.data(Stream::Out, bytes).await,
            Incoming::Eof(_) | Incoming::Cancelled => break,
            _ => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = sender.eof(Stream::Out);
    let _ = sender.finish(&Ok(Response::Copied(1)));
}
