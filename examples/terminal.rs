//! A chat client for the terminal: rooms to the left, messages to the right, a line to write.
//!
//! `terminal URL NAME [ROOM…]` connects to a server as a guest, for example `cargo run -p
//! chat-examples --bin terminal -- http://localhost:8000 ann general`. Tab goes to the next room,
//! `/join ROOM` opens one, Enter sends, Esc ends.
//!
//! `terminal STORE --once` needs neither a server nor a terminal: it serves the store at that path
//! by itself, presses some keys, and prints the screen.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use chat_client::wire::Message;
use chat_client::{Client, Event, Follower, Page, Position, Subscription};
use ratatui::backend::{Backend, TestBackend};
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};
use ratatui::{Frame, Terminal};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Messages of a room that are read when it is opened.
const HISTORY: u32 = 100;

/// State of the screen.
#[derive(Default)]
struct Screen {
    rooms: Vec<Room>,
    /// Number of the room that is shown.
    current: usize,
    input: String,
    status: String,
}

struct Room {
    name: String,
    messages: BTreeMap<i64, Message>,
    present: usize,
}

/// Effect of a key beyond the screen.
#[derive(Debug, PartialEq)]
enum Action {
    Send { room: String, text: String },
    Join(String),
    Quit,
}

impl Screen {
    fn room(&mut self, name: &str) -> Option<&mut Room> {
        self.rooms.iter_mut().find(|room| room.name == name)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Connected(way) => self.status = format!("connected ({way:?})"),
            Event::Disconnected(reason) => self.status = format!("disconnected: {reason}"),
            Event::Message(message) | Event::Changed(message) => {
                if let Some(room) = self.room(&message.room) {
                    room.messages.insert(message.seq, message);
                }
            }
            Event::Presence { room, users } => {
                if let Some(room) = self.room(&room) {
                    room.present = users.len();
                }
            }
            Event::Typing { room, username } => self.status = format!("{username} types in {room}"),
            Event::Mention { room, .. } => self.status = format!("you are mentioned in {room}"),
            Event::Delayed { room, problem } | Event::Ended { room, problem } => {
                self.status = format!("{room}: {}", problem.detail);
            }
            _ => {}
        }
    }

    /// Takes a key, and returns what else is to be done.
    fn press(&mut self, key: KeyCode) -> Option<Action> {
        match key {
            KeyCode::Esc => return Some(Action::Quit),
            KeyCode::Tab | KeyCode::Down => {
                self.current = (self.current + 1) % self.rooms.len().max(1);
            }
            KeyCode::BackTab | KeyCode::Up => {
                let before = self.current.checked_sub(1);
                self.current = before.unwrap_or(self.rooms.len().saturating_sub(1));
            }
            KeyCode::Backspace => {
                self.input.pop();
            }
            KeyCode::Char(character) => self.input.push(character),
            KeyCode::Enter => return self.enter(),
            _ => {}
        }
        None
    }

    fn enter(&mut self) -> Option<Action> {
        let text = std::mem::take(&mut self.input);
        if let Some(room) = text.strip_prefix("/join ") {
            return Some(Action::Join(room.trim().to_owned()));
        }
        if text.trim().is_empty() {
            return None;
        }
        let room = self.rooms.get(self.current)?.name.clone();
        Some(Action::Send { room, text })
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [main, status] =
            Layout::vertical([Constraint::Min(4), Constraint::Length(1)]).areas(frame.area());
        let [rooms, chat] =
            Layout::horizontal([Constraint::Length(20), Constraint::Min(20)]).areas(main);
        let [messages, input] =
            Layout::vertical([Constraint::Min(1), Constraint::Length(3)]).areas(chat);

        let names = self.rooms.iter().enumerate().map(|(number, room)| {
            let is_current = number == self.current;
            let style = if is_current {
                Modifier::REVERSED
            } else {
                Modifier::empty()
            };
            Line::styled(room.name.clone(), Style::new().add_modifier(style))
        });
        let names = Paragraph::new(names.collect::<Vec<_>>());
        frame.render_widget(names.block(Block::bordered().title("Rooms")), rooms);

        if let Some(room) = self.rooms.get(self.current) {
            let title = format!("{} ({} here)", room.name, room.present);
            let height = usize::from(messages.height.saturating_sub(2));
            let lines: Vec<_> = room.messages.values().flat_map(lines).collect();
            let newest = lines.len().saturating_sub(height);
            let shown = Paragraph::new(lines[newest..].to_vec());
            frame.render_widget(shown.block(Block::bordered().title(title)), messages);
        }

        let line = Paragraph::new(self.input.as_str());
        frame.render_widget(line.block(Block::bordered().title("Message")), input);
        frame.render_widget(Paragraph::new(self.status.as_str()), status);
    }
}

/// The lines of a message.
fn lines(message: &Message) -> Vec<Line<'static>> {
    if message.deleted {
        let style = Style::new().add_modifier(Modifier::DIM);
        return vec![Line::styled("deleted", style)];
    }

    let mark = if message.verified { "" } else { "*" };
    let text = message
        .text
        .lines()
        .enumerate()
        .map(|(number, line)| match number {
            0 => Line::raw(format!("{}{mark}: {line}", message.sender)),
            _ => Line::raw(format!("  {line}")),
        });
    let mut lines: Vec<_> = text.collect();
    let reactions = message.reactions.iter();
    let reactions: Vec<_> = reactions
        .map(|reaction| format!("{} {}", reaction.emoji, reaction.count))
        .collect();
    if !reactions.is_empty() {
        lines.push(Line::raw(format!("  {}", reactions.join("  "))));
    }
    lines
}

/// The client behind the screen.
struct Session {
    client: Client,
    events: Follower,
    screen: Screen,
    /// Failures of posts, which are sent while the screen goes on.
    failures: (
        mpsc::UnboundedSender<String>,
        mpsc::UnboundedReceiver<String>,
    ),
}

impl Session {
    async fn start(url: &str, name: &str, rooms: &[String]) -> Result<Self> {
        let mut client = Client::connect(url).await?;
        client.log_in_guest(name).await?;
        let mut this = Self {
            events: client.follow(std::iter::empty::<Subscription>()),
            client,
            screen: Screen::default(),
            failures: mpsc::unbounded_channel(),
        };
        for room in rooms {
            this.join(room).await?;
        }
        this.screen.current = 0;
        Ok(this)
    }

    /// Opens a room, which is created if need be.
    async fn join(&mut self, name: &str) -> Result {
        self.client.create_room(name).await?;
        // Before the messages, so that no change in between is missed.
        let change = self.client.room(name).await?.last_change;
        let messages = self.client.messages(name, Page::Newest, HISTORY).await?;
        let seq = messages.last().map_or(0, |message| message.seq);
        let position = Position { seq, change };
        self.events.add(Subscription::resume(name, position));

        if self.screen.room(name).is_none() {
            self.screen.rooms.push(Room {
                name: name.to_owned(),
                messages: messages
                    .into_iter()
                    .map(|message| (message.seq, message))
                    .collect(),
                present: 0,
            });
        }
        self.screen.current = self.screen.rooms.len() - 1;
        Ok(())
    }

    /// Carries out an action. Returns false at the end.
    async fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Quit => return false,
            Action::Join(room) => {
                if let Err(error) = self.join(&room).await {
                    self.screen.status = error.to_string();
                }
            }
            Action::Send { room, text } => {
                let (client, failures) = (self.client.clone(), self.failures.0.clone());
                tokio::spawn(async move {
                    if let Err(error) = client.post(&room, text).await {
                        // Fails when the program ends.
                        let _ = failures.send(error.to_string());
                    }
                });
            }
        }
        true
    }

    /// Waits for the next event, and applies it to the screen.
    async fn update(&mut self) -> Result {
        tokio::select! {
            event = self.events.next() => self.screen.apply(event.ok_or("nothing is followed any more")??),
            Some(failure) = self.failures.1.recv() => self.screen.status = failure,
        }
        Ok(())
    }
}

fn draw<B: Backend>(terminal: &mut Terminal<B>, screen: &Screen) -> Result
where
    B::Error: Error + Send + Sync + 'static,
{
    terminal.draw(|frame| screen.draw(frame))?;
    Ok(())
}

/// Runs in a terminal until the user ends it.
async fn run(mut session: Session) -> Result {
    let (sender, mut keys) = mpsc::unbounded_channel();
    // A thread, because reading a key blocks. It ends with the process.
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let event::Event::Key(key) = event
                && key.kind != KeyEventKind::Release
                && sender.send(key).is_err()
            {
                return;
            }
        }
    });

    let mut terminal = ratatui::init();
    let ended = loop {
        if let Err(error) = draw(&mut terminal, &session.screen) {
            break Err(error);
        }
        tokio::select! {
            Some(key) = keys.recv() => {
                let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
                let code = match key.code {
                    KeyCode::Char('c') if is_control => KeyCode::Esc,
                    code => code,
                };
                if let Some(action) = session.screen.press(code)
                    && !session.act(action).await
                {
                    break Ok(());
                }
            }
            updated = session.update() => {
                if let Err(error) = updated {
                    break Err(error);
                }
            }
        }
    };
    ratatui::restore();
    ended
}

/// Presses keys on a screen in memory, until it shows what they bring about.
async fn run_script(mut session: Session) -> Result {
    let mut terminal = Terminal::new(TestBackend::new(72, 12))?;
    let keys = ["/join general\n", "hello, all\n", "/join random\n", "bye\n"];
    for text in keys {
        for character in text.chars() {
            let key = match character {
                '\n' => KeyCode::Enter,
                character => KeyCode::Char(character),
            };
            if let Some(action) = session.screen.press(key) {
                session.act(action).await;
            }
        }

        let expected = text.trim().trim_start_matches("/join ");
        let shown = async {
            loop {
                draw(&mut terminal, &session.screen)?;
                if terminal.backend().to_string().contains(expected) {
                    return Ok(());
                }
                session.update().await?;
            }
        };
        timeout(Duration::from_secs(30), shown)
            .await
            .map_err(|_| format!("the screen does not show {expected}"))
            .and_then(|shown: Result| shown.map_err(|error| error.to_string()))?;
    }

    session.screen.press(KeyCode::Tab);
    draw(&mut terminal, &session.screen)?;
    println!("{}", terminal.backend());
    match session.screen.press(KeyCode::Esc) {
        Some(Action::Quit) => Ok(()),
        other => Err(format!("Esc ends the program, not {other:?}").into()),
    }
}

/// Serves a store, and runs the script against it.
async fn once(path: &str) -> Result {
    let store = chatcore::ChatStore::open(path).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = chat_http::App::new(store.clone(), chat_http::Settings::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(chat_http::run(listener, app, async {
        // Stops too when the script fails.
        let _ = stopped.await;
    }));

    run_script(Session::start(&url, "ann", &[]).await?).await?;
    drop(stop);
    server.await?;
    store.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [path, flag] if flag == "--once" => once(path).await,
        [url, name, rooms @ ..] => run(Session::start(url, name, rooms).await?).await,
        _ => Err("usage: terminal URL NAME [ROOM…], or terminal STORE --once".into()),
    }
}
