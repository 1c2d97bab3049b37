//! What runs in the pods of the cluster suite: serves a text, or ends as it is told. One static file, std only.
//!
//! `probe serve PORT TEXT` | `probe connect HOST PORT` | `probe exit CODE SECONDS` | `probe sleep` | `probe now`, which
//! leaves the time, in seconds since 1970, as its last word. On SIGTERM it ends at once, with code 0.

use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

fn main() -> ExitCode {
    // SAFETY: the handler only calls _exit, which is safe in a signal handler.
    unsafe { signal(SIGTERM, end) };
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", port, text] => serve(port, text),
        ["connect", host, port] => match TcpStream::connect(format!("{host}:{port}")) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{host}:{port}: {error}");
                ExitCode::FAILURE
            }
        },
        ["exit", code, seconds] => {
            thread::sleep(Duration::from_secs_f64(seconds.parse().expect("seconds are a number")));
            ExitCode::from(code.parse::<u8>().expect("an exit code is at most 255"))
        }
        ["now"] => {
            let since = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs_f64();
            std::fs::write("/dev/termination-log", format!("{since:.6}")).expect("there is a termination message");
            ExitCode::SUCCESS
        }
        ["sleep"] => loop {
            thread::park();
        },
        _ => {
            eprintln!("probe serve PORT TEXT | connect HOST PORT | exit CODE SECONDS | sleep | now");
            ExitCode::from(2)
        }
    }
}

fn serve(port: &str, text: &str) -> ExitCode {
    let listener =
        TcpListener::bind(("0.0.0.0", port.parse().expect("a port is a number"))).expect("the port is free");
    for stream in listener.incoming().flatten() {
        // A client that goes away early is no reason to end.
        let _ = answer(stream, text);
    }
    ExitCode::SUCCESS
}

/// Every request gets the same answer, so its head is all that is read.
fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&chunk[..read]),
        }
    }
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

// Process 1 of a container has no default action for a signal, and std offers no handler.
unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

extern "C" fn end(_: i32) {
    // SAFETY: ends the process without running anything of it.
    unsafe { _exit(0) }
}

const SIGTERM: i32 = 15;
