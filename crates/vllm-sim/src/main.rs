//! The simulator's process: arguments, environment, signals.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use vllm_sim::args::{self, Args, Wish};
use vllm_sim::settings::Settings;
use vllm_sim::{MODELLED_ON, server};

const USAGE: &str = "usage: vllm-sim [MODEL] [arguments of vllm serve]";
const HELP: &str = "
A simulator of a vLLM engine. It has no model: it makes up text at a set speed.

Every argument of `vllm serve` is accepted; these have an effect: MODEL, --served-model-name, --host, --port,
--max-model-len, --max-num-seqs, --max-num-batched-tokens, --block-size, --num-gpu-blocks-override,
--enable-prefix-caching, --scheduling-policy, --max-num-queued-reqs, --max-num-queued-tokens, --enable-lora, --max-loras,
--lora-modules, --runner, --convert, --enable-auto-tool-choice, --tool-call-parser, --shutdown-timeout,
--enable-prompt-tokens-details, --enable-server-load-tracking.

Arguments of its own:
  --startup-delay SECONDS             time until the port opens; goes before VLLM_SIM_START_DELAY
  --fault FAULT                       something that goes wrong; once for each (see the README of vllm-sim)
  --allow-faults                      faults can be changed at /sim/faults, a route that is not vLLM's

Environment:
  VLLM_SIM_TOKENS_PER_SECOND          speed of each answer (default 50; 0: everything at once)
  VLLM_SIM_PREFILL_TOKENS_PER_SECOND  speed of reading prompts (default 10000; 0: at once)
  VLLM_SIM_CROWDING                   how much an answer slows the others in its step down (default 0)
  VLLM_SIM_START_DELAY                seconds until the port opens (default 0)
  VLLM_SIM_SEED                       what the text is drawn from (default 0)
  VLLM_SIM_CUT_OFF                    how a stop ends what runs: error (default), abort, silence
  VLLM_SIM_FAULTS                     faults, separated by semicolons
  VLLM_SIM_ALLOW_FAULTS               1: as --allow-faults
  VLLM_SIM_TRANSCRIBES                1: the routes for recordings are there
  VLLM_HTTP_TIMEOUT_KEEP_ALIVE        seconds until an idle connection is closed (default 5)
  VLLM_ALLOW_RUNTIME_LORA_UPDATING    1: adapters can be loaded and unloaded while it runs
  VLLM_SERVER_DEV_MODE                1: it can be sent to sleep and woken
";

fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)) {
        Ok(Wish::Help) => tell(&format!("{USAGE}\n{HELP}")),
        Ok(Wish::Version) => tell(&format!("vllm-sim {}, modelled on vLLM {MODELLED_ON}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Wish::Serve(args)) => match run(*args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("vllm-sim: error: {error}{}", causes(&*error));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("{USAGE}\nvllm-sim: error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Standard output may be closed; then nobody wants to know.
fn tell(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn causes(error: &dyn Error) -> String {
    error.source().map_or_else(String::new, |cause| format!(": {cause}{}", causes(cause)))
}

fn run(mut args: Args) -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::read(|name| std::env::var(name).ok())?;
    settings.start_delay = args.startup_delay.unwrap_or(settings.start_delay);
    if let Ok(faults) = std::env::var("VLLM_SIM_FAULTS") {
        args.faults.extend(faults.split(';').map(str::to_owned));
    }
    #[expect(clippy::disallowed_methods, reason = "the edge of the binary, where the wall clock enters")]
    let started = SystemTime::now();
    // One thread is enough for tens of thousands of tokens a second, and leaves the other cores to who is measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(start(args, settings, started))
}

async fn start(args: Args, settings: Settings, started: SystemTime) -> Result<(), Box<dyn Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(stop);
    eprintln!(
        "vllm-sim: a simulator of vLLM {MODELLED_ON}, not vLLM: no model is loaded, all text is made up; starting to \
         serve {} in {:?}",
        args.served_names.join(", "),
        settings.start_delay,
    );
    tokio::select! {
        () = tokio::time::sleep(settings.start_delay) => {}
        () = &mut stop => return Ok(()),
    }
    let listener = TcpListener::bind((args.host.as_str(), args.port)).await?;
    eprintln!("vllm-sim: serving on {}", listener.local_addr()?);
    server::serve(listener, args, settings, started, stop).await?;
    eprintln!("vllm-sim: stopped");
    Ok(())
}
