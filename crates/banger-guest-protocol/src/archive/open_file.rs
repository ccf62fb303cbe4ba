use std::io;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::fs::SeekFrom;
use rustix::io::{Errno, retry_on_intr};

use super::content::{Contents, SeekTo};

/// A file of the operating system's that is being packed; the only part of this module that does I/O.
pub struct OpenFile<F>(pub F);

impl<F: AsFd> Contents for OpenFile<F> {
    fn read(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::read(&self.0, spare_capacity(out)))?)
    }

    fn seek(&mut self, to: SeekTo) -> io::Result<Option<u64>> {
        let (from, without_holes) = match to {
            SeekTo::Start(at) => return Ok(Some(rustix::fs::seek(&self.0, SeekFrom::Start(at))?)),
            SeekTo::Data(at) => (SeekFrom::Data(at), Some(at)),
            SeekTo::Hole(at) => (SeekFrom::Hole(at), None),
        };
        match rustix::fs::seek(&self.0, from) {
            Ok(position) => Ok(Some(position)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(without_holes),
            Err(errno) => Err(errno.into()),
        }
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.0)?.st_size as u64)
    }
}
