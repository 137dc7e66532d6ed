//! A manager: the connection to it, and the calls that all else is made of.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

use crate::dbus::{Call, Connection, Reply};
use crate::error::{Error, Lost};
use crate::properties::Properties;
use crate::signal::{MANAGER, PROPERTIES};
use crate::value::Value;

/// The socket of the system's manager, in the guest. Only root may connect.
pub const SYSTEM_SOCKET: &str = "/run/systemd/private";
pub(crate) const OBJECT: &str = "/org/freedesktop/systemd1";

/// The socket of a user's manager, in the guest. It is there while the user is logged in or
/// lingers (`loginctl enable-linger`).
pub fn user_socket(uid: u32) -> String {
    format!("/run/user/{uid}/systemd/private")
}

/// A stream of bytes to a manager's socket.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Connecting = std::pin::Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A systemd manager of a guest: of its system, or of one of its users. Clones are the same one.
///
/// While it is held, systemd sends it a signal for every change of every unit: hold it as long
/// as it is of use. Nothing here has a time-out of its own; to drop a future ends what it waits
/// for, and leaves nothing.
///
/// ```no_run
/// # async fn f(stream: tokio::net::UnixStream) -> Result<(), attest_systemd::Error> {
/// let systemd = attest_systemd::Manager::connect(stream).await?;
/// systemd.wait_for_unit("nginx").await?;
/// assert_eq!(systemd.unit_text("nginx", "Result").await?, "success");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    connect: Option<Box<dyn Fn() -> Connecting + Send + Sync>>,
    link: Mutex<Option<Link>>,
}

/// A connection, and what was learnt when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    version: String,
    features: String,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}

impl Manager {
    /// Connect over a stream. When the connection ends, as it does when systemd executes itself
    /// anew, everything fails with [`Error::Lost`] from then on.
    pub async fn connect<S>(stream: S) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let link = Link::open(Box::new(stream)).await?;
        let link = Mutex::new(Some(link));
        Ok(Self {
            inner: Arc::new(Inner {
                connect: None,
                link,
            }),
        })
    }

    /// Connect over streams that `connect` makes: now, and again when the connection has ended
    /// and is needed. Waits live through that.
    ///
    /// `connect` should wait until the socket accepts, for it is gone for a moment when systemd
    /// executes itself anew.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), attest_systemd::Error> {
    /// let connect = || tokio::net::UnixStream::connect(attest_systemd::SYSTEM_SOCKET);
    /// let systemd = attest_systemd::Manager::connect_with(connect).await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect_with<C, F, S>(connect: C) -> Result<Self, Error>
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let manager = Self::lazy(connect);
        manager.link().await?;
        Ok(manager)
    }

    /// As [`Manager::connect_with`], but the first connection too is made when it is needed.
    pub fn lazy<C, F, S>(connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let boxed = move || -> Connecting {
            let connecting = connect();
            Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Stream>) })
        };
        Self {
            inner: Arc::new(Inner {
                connect: Some(Box::new(boxed)),
                link: Mutex::new(None),
            }),
        }
    }

    /// The connection, made anew if it has ended and can be.
    pub(crate) async fn link(&self) -> Result<Link, Error> {
        let mut link = self.inner.link.lock().await;
        let lost = match &*link {
            Some(link) => match link.connection.lost() {
                None => return Ok(link.clone()),
                Some(lost) => lost,
            },
            None => Lost::Closed,
        };
        let Some(connect) = &self.inner.connect else {
            return Err(lost.into());
        };
        *link = None;
        let stream = connect()
            .await
            .map_err(|error| Error::Connect(Arc::new(error)))?;
        let new = Link::open(stream).await?;
        Ok(link.insert(new).clone())
    }

    /// Whether a connection that has ended can be made anew.
    pub(crate) fn reconnects(&self) -> bool {
        self.inner.connect.is_some()
    }

    /// systemd's version, as `252.39-1~deb12u2`.
    pub async fn version(&self) -> Result<String, Error> {
        Ok(self.link().await?.version)
    }

    /// What it was built with, as `+PAM +AUDIT -SELINUX …`.
    pub async fn features(&self) -> Result<String, Error> {
        Ok(self.link().await?.features)
    }

    /// All properties of the manager itself, as `systemctl show` without a unit.
    pub async fn properties(&self) -> Result<Properties, Error> {
        let (_, properties) = self
            .link()
            .await?
            .properties("the manager", OBJECT, MANAGER)
            .await?;
        Ok(properties)
    }

    /// One property of the manager itself.
    pub async fn property(&self, name: &str) -> Result<Value, Error> {
        self.link().await?.property(OBJECT, MANAGER, name).await
    }

    /// A method of the manager's.
    pub(crate) async fn call(
        &self,
        method: &'static str,
        signature: &str,
        arguments: &[Value],
    ) -> Result<Reply, Error> {
        self.link().await?.call(method, signature, arguments).await
    }
}

impl Link {
    async fn open(stream: Box<dyn Stream>) -> Result<Self, Error> {
        let connection = Connection::open(stream).await?;
        let mut link = Self {
            connection,
            version: String::new(),
            features: String::new(),
        };
        // All at once: over an emulated machine's channel a round trip is dear.
        let (version, features, finished) = tokio::try_join!(
            link.property(OBJECT, MANAGER, "Version"),
            link.property(OBJECT, MANAGER, "Features"),
            link.property(OBJECT, MANAGER, "FinishTimestampMonotonic"),
        )?;
        link.version = version.to_string();
        link.features = features.to_string();
        if finished.as_u64() != Some(0) {
            link.connection.set_started_up();
        }
        Ok(link)
    }

    /// A method of the manager's.
    pub(crate) async fn call(
        &self,
        method: &'static str,
        signature: &str,
        arguments: &[Value],
    ) -> Result<Reply, Error> {
        let (path, interface) = (OBJECT, MANAGER);
        self.connection
            .call(Call {
                path,
                interface,
                method,
                signature,
                arguments,
            })
            .await
    }

    /// One property of an object.
    pub(crate) async fn property(
        &self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<Value, Error> {
        let arguments = &[interface.into(), name.into()];
        let reply = self.call_properties(path, "Get", "ss", arguments).await?;
        let value = reply.values.into_iter().next().map(Value::unwrapped);
        value.ok_or(Error::answer("Get"))
    }

    /// All properties of an interface of an object, or of all its interfaces when that is
    /// empty; all of one instant. With the answer's place among all that arrived.
    pub(crate) async fn properties(
        &self,
        name: &str,
        path: &str,
        interface: &str,
    ) -> Result<(u64, Properties), Error> {
        let reply = self
            .call_properties(path, "GetAll", "s", &[interface.into()])
            .await?;
        let properties = match reply.values.into_iter().next() {
            Some(Value::Dict(pairs)) => Properties::new(name, pairs),
            _ => None,
        };
        Ok((reply.at, properties.ok_or(Error::answer("GetAll"))?))
    }

    async fn call_properties(
        &self,
        path: &str,
        method: &'static str,
        signature: &str,
        arguments: &[Value],
    ) -> Result<Reply, Error> {
        let interface = PROPERTIES;
        self.connection
            .call(Call {
                path,
                interface,
                method,
                signature,
                arguments,
            })
            .await
    }
}
