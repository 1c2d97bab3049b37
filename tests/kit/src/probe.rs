//! The program in the pods of the cluster suite: one static file that uses only std.
//!
//! `probe serve PORT TEXT` | `probe connect HOST PORT` | `probe exit CODE SECONDS` | `probe sleep` | `probe now`, which
//! writes the time, in seconds since 1970, as its termination message. On SIGTERM it ends at once with code 0.

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
            thread::sleep(Duration::from_secs_f64(seconds.parse().expect("SECONDS is a number")));
            ExitCode::from(code.parse::<u8>().expect("CODE is at most 255"))
        }
        ["now"] => {
            let since = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is after 1970").as_secs_f64();
            std::fs::write("/dev/termination-log", format!("{since:.6}")).expect("the container has a termination log");
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
        TcpListener::bind(("0.0.0.0", port.parse().expect("PORT is a number"))).expect("the port is free");
    for stream in listener.incoming().flatten() {
        // A client may disconnect early.
        let _ = answer(stream, text);
    }
    ExitCode::SUCCESS
}

/// Reads a request's head and sends the text. Every request gets the same response, so the rest of it is not read.
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

// The kernel ignores SIGTERM for process 1 of a container unless there is a handler, and std cannot set one.
unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

extern "C" fn end(_: i32) {
    // SAFETY: _exit ends the process without running any more of its code.
    unsafe { _exit(0) }
}

const SIGTERM: i32 = 15;
