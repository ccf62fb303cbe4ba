//! What follows the tar stream: pack and index, as records for the agent.

use banger_guest_protocol::import::{Finish, RECORD_MAX_LEN, Record, RecordCodec};
use banger_host::git::Git;
use bytes::Bytes;
use tokio_util::codec::Encoder as _;

use super::WorkspaceError;
use super::object::ObjectId;
use super::send::{PackStep, Sent};
use super::sink::Sink;

/// Sends the records that complete a repository. Blocks.
///
/// # Errors
///
/// When an object cannot be read, or nobody takes what is sent.
pub(super) fn finish_import(
    finish: Finish,
    sent: Sent,
    git: &Git,
    sink: &mut Sink,
) -> Result<(), WorkspaceError> {
    let with_pack = finish.pack.is_some();
    put(sink, &Record::Finish(finish))?;
    let Sent { steps, mut pack_writer, missing, index, .. } = sent;
    if with_pack {
        for step in steps {
            match step {
                PackStep::Bytes(bytes) => put_all(sink, &bytes, Record::Pack)?,
                PackStep::File { path, len } => put(sink, &Record::PackFile { len, path })?,
            }
        }
        let mut objects = git.objects()?;
        let mut buffer = vec![0; RECORD_MAX_LEN / 2];
        for id in missing {
            let (kind, size, mut content) = objects.read(&id.to_string())?;
            let (mut object, head) = pack_writer.open(kind, size);
            put_all(sink, &head, Record::Pack)?;
            let mut empty = size == 0;
            loop {
                let piece = content.piece(&mut buffer)?;
                let bytes = piece.unwrap_or_default();
                if piece.is_none() && !empty {
                    break;
                }
                empty = false;
                let mut laid_out = Vec::with_capacity(bytes.len() + 16);
                let mut at = 0;
                object.content(bytes, |place, header| {
                    laid_out.extend_from_slice(&bytes[at..place]);
                    laid_out.extend_from_slice(header);
                    at = place;
                });
                laid_out.extend_from_slice(&bytes[at..]);
                put_all(sink, &laid_out, Record::Pack)?;
                if piece.is_none() {
                    break;
                }
            }
            put_all(sink, &pack_writer.close(object, id), Record::Pack)?;
        }
        let (checksum, idx): (ObjectId, Vec<u8>) = pack_writer.finish();
        put_all(sink, checksum.as_bytes(), Record::Pack)?;
        put_all(sink, &idx, Record::PackIndex)?;
    }
    for entry in index {
        put(sink, &Record::Entry(entry))?;
    }
    put(sink, &Record::End)?;
    sink.flush()
}

fn put_all(sink: &mut Sink, bytes: &[u8], wrap: fn(Bytes) -> Record) -> Result<(), WorkspaceError> {
    bytes.chunks(RECORD_MAX_LEN).try_for_each(|chunk| put(sink, &wrap(Bytes::copy_from_slice(chunk))))
}

fn put(sink: &mut Sink, record: &Record) -> Result<(), WorkspaceError> {
    // Fails only for a path longer than any that Linux takes.
    RecordCodec.encode(record, sink.buffer()).map_err(|_| WorkspaceError::Cut)?;
    sink.flush_if_full()
}
