//! The terminal: taken, drawn on by a thread, and given back whatever happens.

use std::io::{self, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};

use super::draw::draw;
use super::view::View;

/// Whether the terminal is ours. There is one of it in a process.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The dashboard's hold on the terminal.
pub(super) struct Screen {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Screen {
    /// Takes the terminal and starts to draw. `asked` is set by the keys that end a training.
    pub(super) fn open(view: Arc<Mutex<View>>, asked: Arc<AtomicBool>) -> io::Result<Self> {
        give_back_on_panic();
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other("it shows another training"));
        }
        let taken = take();
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = taken.and_then(|mut terminal| {
            let body = move || {
                let drawn = show(&mut terminal, &view, &asked, &until);
                give_back();
                drawn
            };
            std::thread::Builder::new().name("kiln-dashboard".into()).spawn(body)
        });
        match thread {
            Ok(thread) => Ok(Self { over, thread: Some(thread) }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Gives the terminal back.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.over.store(true, Ordering::SeqCst);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(drawn)) => drawn,
            Some(Err(_)) => Err(io::Error::other("the drawing thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.end(); // the training has an error of its own to tell of
        give_back();
    }
}

fn take() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    terminal::enable_raw_mode()?;
    execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Gives the terminal back, if it is ours. Nothing can be done about what goes wrong with that.
pub(super) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// A panic prints where it can be read.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

/// Draws ten times a second and looks at the keys, until it is over or the terminal is not ours any more.
fn show(
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    view: &Mutex<View>,
    asked: &AtomicBool,
    over: &AtomicBool,
) -> io::Result<()> {
    while !over.load(Ordering::SeqCst) && TAKEN.load(Ordering::SeqCst) {
        {
            let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
            view.stopping = asked.load(Ordering::Relaxed);
            terminal.draw(|frame| draw(frame, &view))?;
        }
        if event::poll(Duration::from_millis(100))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            let again = (ctrl_c || key.code == KeyCode::Char('q')) && asked.swap(true, Ordering::Relaxed);
            if ctrl_c && again {
                give_back();
                std::process::exit(130); // the second Ctrl-C, as a shell counts it
            }
        }
    }
    Ok(())
}
