// SPDX-License-Identifier: Apache-2.0
// Wire numbers of portd (magic PD, version 1, little-endian; docs/format/wire-portd.md).
// Requests start `P D 1 op, nonce u32`; replies `P D 1 op|0x80, status u8, nonce u32` (9 bytes), then a body.

/** name_len u8, name. policyd decides (capability `port.NAME`, NAME without the `org.vigil.`). Body: port u32, connected u8. */
export const PD_OP_OPEN: u8 = 1;
/** port u32, then the bytes: all of them are taken, or none (PD_AGAIN). No body. */
export const PD_OP_WRITE: u8 = 2;
/** port u32, max u16, until_ns u64 (0: do not wait). Body: connections u32, bytes. Waits for the first byte or until_ns. */
export const PD_OP_READ: u8 = 3;
/** port u32. No body. */
export const PD_OP_CLOSE: u8 = 4;
/** port u32 (of anyone). Body: PD_STATS_*. */
export const PD_OP_STATS: u8 = 5;

export const PD_OK: u8 = 0;
export const PD_MALFORMED: u8 = 1;
export const PD_UNSUPPORTED: u8 = 2;
export const PD_NOT_FOUND: u8 = 3;
export const PD_DENIED: u8 = 4;
/** The port's owner is another service, or a read is pending. */
export const PD_BUSY: u8 = 5;
/** Back-pressure: no room for the whole write; nothing was taken. */
export const PD_AGAIN: u8 = 6;
/** Nobody is connected on the host's side: what would be written now would be lost. */
export const PD_DISCONNECTED: u8 = 7;
/** No device, or it failed. */
export const PD_UNAVAILABLE: u8 = 8;

export const PD_PORT_PREFIX_BYTES: u32 = 10;
/** STATS body: connected u8, then six u64: bytes in, out, lost in, lost out, connections, transmissions refused. */
export const PD_STATS_BYTES: u32 = 49;
