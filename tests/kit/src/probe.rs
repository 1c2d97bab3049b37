//! The program in the pods of the cluster suite: one static file that uses only std.
//!
//! `probe serve PORT TEXT` | `probe connect HOST PORT` | `probe exit CODE SECONDS` | `probe sleep` | `probe now`. The last one
//! and `exit` write the time, in seconds since 1970, as their termination message. On SIGTERM it ends at once with code 0, and after
//! `probe sleep CODE` with this code. `probe say TEXT` sleeps with this termination message. `probe fill` uses more and more memory.
//!
//! `probe stream PORT TEXT` streams as a desktop does: 20 frames of 5 KB per second to each client that upgrades to a WebSocket. Other
//! requests get the text, and their connection stays open. `probe watch HOST PORT SECONDS` is a client: it reads the frames for this time.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

fn main() -> ExitCode {
    // SAFETY: the handler only calls _exit, which is safe in a signal handler.
    unsafe { signal(SIGTERM, end) };
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", port, text] => serve(port, text),
        ["stream", port, text] => stream(port, text),
        ["watch", host, port, seconds] => watch(host, port, seconds),
        ["connect", host, port] => match TcpStream::connect(format!("{host}:{port}")) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{host}:{port}: {error}");
                ExitCode::FAILURE
            }
        },
        ["exit", code, seconds] => {
            thread::sleep(Duration::from_secs_f64(seconds.parse().expect("SECONDS is a number")));
            // Only containers of Kubernetes have a termination log.
            let _ = say(&now());
            ExitCode::from(code.parse::<u8>().expect("CODE is at most 255"))
        }
        ["now"] => {
            say(&now()).expect("the container has a termination log");
            ExitCode::SUCCESS
        }
        ["say", text] => {
            say(text).expect("the container has a termination log");
            sleep()
        }
        ["sleep"] => sleep(),
        ["sleep", code] => {
            EXIT_CODE.store(code.parse().expect("CODE is a number"), Ordering::Relaxed);
            sleep()
        }
        ["fill"] => fill(),
        _ => {
            eprintln!("probe serve PORT TEXT | stream PORT TEXT | watch HOST PORT SECONDS | connect HOST PORT | exit CODE SECONDS | sleep [CODE] | now | say TEXT | fill");
            ExitCode::from(2)
        }
    }
}

/// The time in seconds since 1970.
fn now() -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is after 1970");
    format!("{:.6}", since.as_secs_f64())
}

/// Writes the termination message, into the file that Kubernetes has created.
fn say(text: &str) -> io::Result<()> {
    File::options().write(true).open("/dev/termination-log")?.write_all(text.as_bytes())
}

fn sleep() -> ! {
    loop {
        thread::park();
    }
}

/// Uses 4 MB more every 10 ms.
fn fill() -> ! {
    let mut memory = vec![];
    loop {
        memory.push(vec![1_u8; 4 << 20]);
        thread::sleep(Duration::from_millis(10));
    }
}

fn serve(port: &str, text: &str) -> ExitCode {
    for stream in listen(port).incoming().flatten() {
        // A client may disconnect early.
        let _ = answer(stream, text);
    }
    ExitCode::SUCCESS
}

fn listen(port: &str) -> TcpListener {
    TcpListener::bind(("0.0.0.0", port.parse().expect("PORT is a number"))).expect("the port is free")
}

/// Sends the text. Every request gets the same response, so the rest of it is not read.
fn answer(mut stream: TcpStream, text: &str) -> io::Result<()> {
    match head(&mut stream)?.is_empty() {
        true => Ok(()),
        false => send_text(&mut stream, text, "close"),
    }
}

/// Reads the head of a request or of a response; it is empty if the other end closes the connection.
fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte)? {
            0 => return Ok(String::new()),
            _ => head.push(byte[0]),
        }
    }
    Ok(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

fn send_text(stream: &mut TcpStream, text: &str, connection: &str) -> io::Result<()> {
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n{text}"
    )
}

fn stream(port: &str, text: &str) -> ExitCode {
    let text: Arc<str> = text.into();
    for stream in listen(port).incoming().flatten() {
        let text = Arc::clone(&text);
        // A client may disconnect at any time.
        thread::spawn(move || stream_to(stream, &text));
    }
    ExitCode::SUCCESS
}

fn stream_to(mut stream: TcpStream, text: &str) -> io::Result<()> {
    loop {
        let head = head(&mut stream)?;
        if head.is_empty() {
            return Ok(());
        }
        if head.contains("upgrade: websocket") {
            return send_frames(&mut stream);
        }
        let closes = head.contains("connection: close");
        send_text(&mut stream, text, if closes { "close" } else { "keep-alive" })?;
        if closes {
            return Ok(());
        }
    }
}

fn send_frames(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(ACCEPT.as_bytes())?;
    // A final binary frame with a length of 16 bits (RFC 6455, 5.2).
    let mut frame = vec![0x82, 126];
    frame.extend((FRAME_BYTES as u16).to_be_bytes());
    frame.resize(frame.len() + FRAME_BYTES, b'x');
    loop {
        stream.write_all(&frame)?;
        thread::sleep(Duration::from_millis(50));
    }
}

/// Prints the number of bytes that it has read.
fn watch(host: &str, port: &str, seconds: &str) -> ExitCode {
    let duration = Duration::from_secs_f64(seconds.parse().expect("SECONDS is a number"));
    match read_frames(&format!("{host}:{port}"), duration) {
        Ok(bytes) => {
            println!("{bytes}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{host}:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_frames(address: &str, duration: Duration) -> io::Result<u64> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\n{UPGRADE}")?;
    if !head(&mut stream)?.starts_with("http/1.1 101 ") {
        return Err(io::Error::other("the server does not upgrade the connection"));
    }
    let (mut bytes, mut chunk) = (0, vec![0; 64 << 10]);
    while began.elapsed() < duration {
        match stream.read(&mut chunk)? {
            0 => return Err(io::Error::other("the server has closed the connection")),
            read => bytes += read as u64,
        }
    }
    Ok(bytes)
}

const FRAME_BYTES: usize = 5000;

/// Nonce and answer of the example in RFC 6455, 1.3. Other clients would need a hash of their own nonce.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

// The kernel ignores SIGTERM for process 1 of a container unless there is a handler, and std cannot set one.
unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

extern "C" fn end(_: i32) {
    // SAFETY: _exit ends the process without running any more of its code.
    unsafe { _exit(EXIT_CODE.load(Ordering::Relaxed)) }
}

/// The exit code after SIGTERM.
static EXIT_CODE: AtomicI32 = AtomicI32::new(0);

const SIGTERM: i32 = 15;
