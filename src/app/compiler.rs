//! Plugins are compiled in a process of their own: this program, started once for each component, with nothing but its bytes.
//!
//! A compiler is large, and what it is given is chosen by whoever writes plugins. There, no key is within its reach; what it takes of
//! memory is gone when it ends; it can be ended at its deadline; and it holds up nothing of what serves: it has what the thread has of the
//! processors that starts it, spare time or little more.

use std::io::{Read, Write};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use origan_codec_host::plugin::{CodeFor, CompileError, Compiler, Progress, compile, lives_on_spare_time, starved};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::set_no_new_privs;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::runtime::Handle;

/// This program, even if its file has been replaced since it started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The subcommand that runs [`compile_stdin`], and its argument.
const COMMAND: [&str; 2] = ["compile-plugin", "--for"];
/// Exit code of a compiler that will not have its component.
const EXIT_REFUSED: u8 = 3;
/// The compiler recurses; what it is given is capped, and this is plenty for it.
const STACK_BYTES: usize = 16 << 20;
/// Memory that it may write to. Python's interpreter, the largest guest that there is, takes a quarter of it.
const DATA_BYTES_MAX: u64 = 4 << 30;
/// Code of one component. Python's is 40 MB.
const CODE_BYTES_MAX: u64 = 512 << 20;
/// Of what it says on stderr.
const SAID_BYTES_MAX: u64 = 4 << 10;
/// After its deadline, the kernel ends it, should nobody else be left to.
const CPU_SECONDS_MAX: u64 = 600;

/// Starts compilers.
pub struct CompilerProcess {
    runtime: Handle,
}

impl CompilerProcess {
    /// What waits for them runs on the runtime that this is called on.
    pub fn on_this_runtime() -> Self {
        Self { runtime: Handle::current() }
    }
}

impl Compiler for CompilerProcess {
    fn compile(&self, component: &[u8], code_for: CodeFor, deadline: Duration) -> Result<Vec<u8>, CompileError> {
        let component = component.to_vec();
        let (tell, told) = std::sync::mpsc::channel();
        // Here, on a thread that lets requests go first: what it starts begins as it is, and what it costs to start it holds up nobody.
        let child = {
            let _runtime = self.runtime.enter();
            started(code_for)?
        };
        let on_spare_time = lives_on_spare_time();
        self.runtime.spawn(async move {
            let process = child.id().unwrap_or_default();
            let starved = async {
                match on_spare_time {
                    // One that is gone has told its outcome.
                    true => starved(|| Progress::of_process(process)).await,
                    false => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                biased;
                done = tokio::time::timeout(deadline, compiled(child, &component)) => {
                    done.unwrap_or(Err(CompileError::Late(deadline)))
                }
                () = starved => Err(CompileError::Starved),
            };
            let _ = tell.send(outcome);
        });
        told.recv().unwrap_or_else(|_| Err(CompileError::NoCompiler("the service ends".into())))
    }
}

fn no_compiler(error: std::io::Error) -> CompileError {
    CompileError::NoCompiler(error.to_string())
}

/// A compiler that waits for its component.
fn started(code_for: CodeFor) -> Result<Child, CompileError> {
    // Passed on to each of its threads: the allocator's is there before it could say so itself. Nothing else is started by this thread.
    set_no_new_privs(true).map_err(|error| no_compiler(error.into()))?;
    Command::new(THIS_PROGRAM)
        .args(COMMAND)
        .arg(code_for.name())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(no_compiler)
}

/// Dropped before it is done, it ends the compiler.
async fn compiled(mut child: Child, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (code, said, ()) =
        tokio::try_join!(up_to(stdout, CODE_BYTES_MAX), up_to(stderr, SAID_BYTES_MAX), given(stdin, component),)
            .map_err(no_compiler)?;
    let status = child.wait().await.map_err(no_compiler)?;
    match status.code() {
        Some(0) => Ok(code),
        Some(code) if code == i32::from(EXIT_REFUSED) => Err(CompileError::Refused(first_line(&said))),
        _ => Err(CompileError::NoCompiler(format!("{status}: {}", first_line(&said)))),
    }
}

/// A compiler that ends before it has all of it says why itself.
async fn given(stdin: Option<ChildStdin>, component: &[u8]) -> std::io::Result<()> {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(component).await;
    }
    Ok(())
}

async fn up_to(output: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(most + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > most { Err(std::io::Error::other("its output is too long")) } else { Ok(bytes) }
}

fn first_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

/// In the process that was started for it: the code of the component on stdin, to stdout. It lets requests go first as the thread does that
/// has started it.
pub fn compile_stdin(code_for: CodeFor) -> anyhow::Result<ExitCode> {
    let mut component = Vec::new();
    std::io::stdin().lock().read_to_end(&mut component)?;
    // Before anything looks at it: a thread begins as the one that starts it.
    confine()?;
    let compiler = std::thread::Builder::new().stack_size(STACK_BYTES);
    let compiler = compiler.spawn(move || compile(&component, code_for))?;
    let compiled = compiler.join().map_err(|_| anyhow::anyhow!("the compiler panicked"))?;
    match compiled {
        Ok(code) => {
            std::io::stdout().lock().write_all(&code)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(CompileError::Refused(why)) => {
            writeln!(std::io::stderr(), "{why}")?;
            Ok(ExitCode::from(EXIT_REFUSED))
        }
        Err(error) => Err(error.into()),
    }
}

/// From now on, nothing is opened or written but what is open already: in the place of what is closed nothing comes.
fn confine() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    for (resource, most) in [
        (Resource::Fsize, 0),
        (Resource::Data, DATA_BYTES_MAX),
        (Resource::Cpu, CPU_SECONDS_MAX),
        // Last, for whoever looks whether all of it holds.
        (Resource::Nofile, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}
