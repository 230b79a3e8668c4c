// SPDX-License-Identifier: Apache-2.0
// What the assembly enters: boot, traps, and one function a system call (abi/syscalls.toml). Parameters are u64, because a user's
// registers need not be sign-extended; each function truncates what is narrower.

export { boot } from "./boot";
export { trap_bad_syscall, trap_taken } from "./trap";
export { sys_process_crash } from "./crash";
export { sys_call, sys_recv, sys_reply, sys_reply_recv, sys_send } from "./ipc";
export {
  sys_exit, sys_memory_grow, sys_process_create, sys_process_endpoint, sys_process_event, sys_process_grant, sys_process_kill,
  sys_process_start, sys_trap,
} from "./process";
export {
  sys_device_config, sys_device_open, sys_device_queue, sys_device_ready, sys_device_submit, sys_device_take,
} from "./device";
export {
  sys_bad, sys_boot_arg, sys_bundle_find, sys_bundle_read, sys_bundle_stat, sys_cap_clone, sys_cap_close, sys_cap_query,
  sys_console_line, sys_counter, sys_endpoint_create, sys_null, sys_shutdown, sys_yield,
} from "./syscalls";
export { sys_mutant } from "./mutant";
