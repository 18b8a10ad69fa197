//! How bytes travel: TCP with noise and yamux, QUIC, and within the process for tests and for many nodes in
//! one.

use std::{
    io,
    net::{IpAddr, TcpListener},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, MemoryTransport, OrTransport},
        upgrade::Version,
    },
    dns,
    identity::Keypair,
    multiaddr::Protocol,
    noise, quic, relay, tcp, yamux,
};

use crate::net::{
    config::Transports,
    error::NetError,
    limits::{HANDSHAKE_TIMEOUT, STREAMS_PER_CONNECTION_MAX},
};

type BoxedTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// Bytes that one QUIC stream may buffer before we read them.
const QUIC_STREAM_BYTES_MAX: u32 = 1024 * 1024;
/// Bytes that one QUIC connection may buffer before we read them.
const QUIC_CONNECTION_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// All ways to reach and be reached. Names are looked up with the system's resolver; where there is none,
/// addresses must be numbers.
///
/// # Errors
/// If the key cannot be used for the handshake.
pub(crate) fn build(
    keypair: &Keypair,
    transports: Transports,
    relayed: relay::client::Transport,
) -> Result<BoxedTransport, NetError> {
    let direct = match transports {
        Transports::Memory => memory(keypair)?,
        Transports::All => everything(keypair)?,
    };
    let relayed = secure(relayed, keypair)?;
    Ok(OrTransport::new(relayed, direct).map(|either, _| either.into_inner()).boxed())
}

fn everything(keypair: &Keypair) -> Result<BoxedTransport, NetError> {
    match dns::tokio::Transport::system(plain(keypair)?) {
        Ok(resolving) => Ok(resolving.boxed()),
        Err(error) => {
            tracing::warn!(%error, "no system resolver; addresses with names cannot be dialled");
            plain(keypair)
        }
    }
}

/// The handshake and the streams that every way of bare bytes gets, a relay's too: the relay reads nothing.
fn secure<T>(transport: T, keypair: &Keypair) -> Result<BoxedTransport, NetError>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    let noise = noise::Config::new(keypair).map_err(|error| NetError::Setup(error.to_string()))?;
    Ok(transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux_config())
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed())
}

/// Within the process, with the same handshake as everywhere.
fn memory(keypair: &Keypair) -> Result<BoxedTransport, NetError> {
    secure(MemoryTransport::default(), keypair)
}

fn plain(keypair: &Keypair) -> Result<BoxedTransport, NetError> {
    let tcp = secure(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)), keypair)?;
    let quic = quic::tokio::Transport::new(quic_config(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    let streams = OrTransport::new(tcp, memory(keypair)?).map(|either, _| either.into_inner()).boxed();
    Ok(OrTransport::new(quic, streams).map(|either, _| either.into_inner()).boxed())
}

fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_PER_CONNECTION_MAX);
    config
}

fn quic_config(keypair: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = HANDSHAKE_TIMEOUT;
    config.max_concurrent_stream_limit = u32::try_from(STREAMS_PER_CONNECTION_MAX).unwrap_or(u32::MAX);
    config.max_stream_data = QUIC_STREAM_BYTES_MAX;
    config.max_connection_data = QUIC_CONNECTION_BYTES_MAX;
    config
}

/// Refuses a TCP port that is taken. libp2p shares ports, so that two nodes with the same port would each get
/// some of the other's connections; here that is an error.
///
/// # Errors
/// With what the system said.
pub(crate) fn check_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}
