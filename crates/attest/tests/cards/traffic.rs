//! What runs in guests: a program of its own, which `outside` has compiled. `serve PORT` takes what others send over
//! TCP and UDP; `tcp ADDRESS BYTES` sends a stream, and gets it back; `udp ADDRESS SIZE COUNT` sends datagrams, and gets
//! each of them back. Every byte is compared.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Of the pattern; no multiple of anything that a network has.
const PERIOD: usize = 65_521;
const PART: usize = 256 * 1024;
/// Bytes of datagrams that are under way at once, each with what a kernel needs for it: less than any socket keeps.
const AT_ONCE: usize = 64 * 1024;
const EACH: usize = 1024;
/// How long an answer may take.
const ANSWERS: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().expect("a number");
    match words[..] {
        ["serve", port] => serve(port.parse().expect("a port")),
        ["tcp", to, bytes] => tcp(to, number(bytes)),
        ["udp", to, size, count] => udp(to, number(size), number(count)),
        _ => panic!("serve PORT | tcp ADDRESS BYTES | udp ADDRESS SIZE COUNT"),
    }
}

/// The bytes of a stream from this place on.
fn pattern() -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    period.iter().cycle().take(PERIOD + PART).copied().collect()
}

fn serve(port: u16) -> io::Result<()> {
    // For both families.
    let datagrams = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    thread::spawn(move || {
        let mut datagram = vec![0; 65_536];
        while let Ok((length, from)) = datagrams.recv_from(&mut datagram) {
            let _ = datagrams.send_to(&datagram[..length], from);
        }
    });
    for stream in TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?.incoming() {
        let mut stream = stream?;
        thread::spawn(move || io::copy(&mut stream.try_clone()?, &mut stream));
    }
    Ok(())
}

fn tcp(to: &str, bytes: usize) -> io::Result<()> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(to)?;
    let mut back = stream.try_clone()?;
    let receiver = thread::spawn(move || -> io::Result<usize> {
        let (pattern, mut part, mut received) = (pattern(), vec![0; PART], 0);
        loop {
            let length = back.read(&mut part)?;
            if length == 0 {
                return Ok(received);
            }
            let start = received % PERIOD;
            assert!(
                part[..length] == pattern[start..start + length],
                "other bytes at {received}"
            );
            received += length;
        }
    });
    let (pattern, mut sent) = (pattern(), 0);
    while sent < bytes {
        let start = sent % PERIOD;
        let length = PART.min(bytes - sent);
        stream.write_all(&pattern[start..start + length])?;
        sent += length;
    }
    stream.shutdown(Shutdown::Write)?;
    let received = receiver.join().expect("the same bytes")?;
    assert_eq!(received, bytes);
    println!("{:.3}", began.elapsed().as_secs_f64());
    Ok(())
}

fn udp(to: &str, size: usize, count: usize) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(ANSWERS))?;
    let (pattern, mut datagram) = (pattern(), vec![0; 65_536]);
    let of = |number: usize| &pattern[number % PERIOD..][..size];
    let (mut sent, mut received) = (0, 0);
    while received < count {
        while sent < count && (sent == received || (sent - received + 1) * (size + EACH) <= AT_ONCE)
        {
            socket.send(of(sent))?;
            sent += 1;
        }
        match socket.recv(&mut datagram) {
            Ok(length) if datagram[..length] == *of(received) => received += 1,
            // One before it is lost; or it comes again.
            Ok(length) => assert!(
                (0..count).any(|number| datagram[..length] == *of(number)),
                "nobody sent what came in place of {received}"
            ),
            // Datagrams may be lost: a busy guest has no room for them.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent = received,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
