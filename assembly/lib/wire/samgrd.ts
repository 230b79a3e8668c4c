// SPDX-License-Identifier: Apache-2.0
// Wire numbers of samgrd (protocol SM; tables in docs/format/wire-samgrd.md).

/** name_len u8, name; moves a SEND|CLONE capability. From init-lite alone; registering again replaces. */
export const SM_OP_REGISTER: u8 = 1;
/** name_len u8, name; the reply moves a SEND capability. policyd's ROUTE decides. */
export const SM_OP_LOOKUP: u8 = 2;
/** No payload; body: the caller's service id u64 as the kernel stamps it. */
export const SM_OP_SENDER_SERVICE_ID: u8 = 5;
/** name_len u8, name; body: registered u8, dead u8, registrations u32. */
export const SM_OP_RESOLVE_STATUS: u8 = 6;
/** name_len u8, name; as LOOKUP, but what moves has the query right too: policyd's log.query (metrics.snapshot for metricsd) decides, and
 *  only what init-lite registered with that right (logd, metricsd) can be had so. */
export const SM_OP_LOOKUP_QUERY: u8 = 7;

export const SM_OK: u8 = 0;
export const SM_MALFORMED: u8 = 1;
export const SM_UNSUPPORTED: u8 = 2;
export const SM_NOT_FOUND: u8 = 3;
export const SM_DENIED: u8 = 4;
export const SM_OVER_LIMIT: u8 = 5;
/** policyd did not answer well or in time: nothing is handed out. */
export const SM_UNAVAILABLE: u8 = 7;
/** Known by name, but its process ended and was not registered again yet. */
export const SM_DEAD: u8 = 6;

export const SM_NAME_BYTES_MAX: u32 = 32;
