use std::io;
use std::os::fd::OwnedFd;

use banger_guest_protocol::archive::{Contents, Looks, SeekTo};
use rustix::buffer::spare_capacity;
use rustix::fs::{SeekFrom, Stat};
use rustix::io::{Errno, retry_on_intr};

/// A file that is being packed.
pub(super) struct OpenFile<'a>(pub(super) &'a OwnedFd);

impl Contents for OpenFile<'_> {
    fn read(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::read(self.0, spare_capacity(out)))?)
    }

    fn seek(&mut self, to: SeekTo) -> io::Result<Option<u64>> {
        let (from, without_holes) = match to {
            SeekTo::Start(at) => return Ok(Some(rustix::fs::seek(self.0, SeekFrom::Start(at))?)),
            SeekTo::Data(at) => (SeekFrom::Data(at), Some(at)),
            SeekTo::Hole(at) => (SeekFrom::Hole(at), None),
        };
        match rustix::fs::seek(self.0, from) {
            Ok(position) => Ok(Some(position)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(without_holes),
            Err(errno) => Err(errno.into()),
        }
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(self.0)?.st_size as u64)
    }
}

pub(super) fn looks(found: &Stat) -> Looks {
    Looks { size: found.st_size as u64, allocated: found.st_blocks as u64 * 512 }
}
