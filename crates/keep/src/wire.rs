//! Datagrams with descriptors over Unix sockets: sendmsg(2), recvmsg(2), unix(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
};
use rustix::process::Pid;

/// Descriptors in one datagram; the kernel's limit (SCM_MAX_FD).
pub(crate) const DESCRIPTORS_MAX: usize = 253;

/// What came.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The process that sent it, as the kernel knows it: only where the socket asks for credentials. None for processes of another pid namespace,
    /// whose number is 0 here.
    pub(crate) sender: Option<Pid>,
    /// Part of it is missing: text too long, or no room for descriptors.
    pub(crate) cut: bool,
}

/// Sends to `address`, or, if there is none, to the peer.
pub(crate) fn send(socket: impl AsFd, address: Option<&SocketAddrUnix>, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let text = [IoSlice::new(text)];
    match address {
        Some(address) => rustix::net::sendmsg_addr(socket, address, &text, &mut control, SendFlags::NOSIGNAL)?,
        None => rustix::net::sendmsg(socket, &text, &mut control, SendFlags::NOSIGNAL)?,
    };
    Ok(())
}

/// The next datagram of at most `bytes_max` bytes; None if there is none and the socket does not wait.
pub(crate) fn receive(socket: impl AsFd, bytes_max: usize) -> io::Result<Option<Datagram>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX), ScmCredentials(1))];
    let (mut control, mut bytes) = (RecvAncillaryBuffer::new(&mut space), vec![0; bytes_max]);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let received = match received {
        Err(Errno::AGAIN) => return Ok(None),
        other => other?,
    };
    bytes.truncate(received.bytes);
    let cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let mut datagram = Datagram { bytes, descriptors: Vec::new(), sender: None, cut };
    for part in control.drain() {
        match part {
            RecvAncillaryMessage::ScmRights(descriptors) => datagram.descriptors.extend(descriptors),
            RecvAncillaryMessage::ScmCredentials(credentials) => datagram.sender = Some(credentials.pid),
            _ => {}
        }
    }
    Ok(Some(datagram))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn text_and_descriptors_arrive() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        assert!(receive(&theirs, 10).unwrap().is_none());
        send(&ours, None, b"text", &[ours.as_fd(), theirs.as_fd()]).unwrap();
        let datagram = receive(&theirs, 10).unwrap().unwrap();
        assert_eq!((datagram.bytes.as_slice(), datagram.descriptors.len(), datagram.cut), (&b"text"[..], 2, false));
        send(&ours, None, b"long text, too long", &[]).unwrap();
        assert!(receive(&theirs, 10).unwrap().unwrap().cut);
        let many = vec![ours.as_fd(); DESCRIPTORS_MAX + 1];
        assert!(send(&ours, None, b"x", &many).is_err());
        send(&ours, None, b"x", &many[1..]).unwrap();
        assert_eq!(receive(&theirs, 10).unwrap().unwrap().descriptors.len(), DESCRIPTORS_MAX);
    }
}
