// SPDX-License-Identifier: Apache-2.0
// CRC-32C for the wire codecs: the one implementation is in lib/bounded.
export { crc32c } from "../bounded/crc32c";
