# SPDX-License-Identifier: Apache-2.0
# Reset, trap entry and exit. Protocol: while a service runs, sscratch holds the kernel's memory base and tp the service's; trap entry
# swaps them. The word CURRENT names the running thread's block, to which registers are saved; a kernel function that changes CURRENT
# has chosen who runs next. A system call is a function call to its caller, so it saves s-registers only when it switches. Services do
# not use gp, which therefore carries the thread block. Offsets here and in assembly/kernel/layout.ts are held together by a test.

#include "vigil_abi.h"

.equ CURRENT, 64        # words that assembly and kernel share, at fixed offsets in kernel memory
.equ FP_OWNER, 72
.equ STACK_TOP, 80
.equ INSTANCE, 88

.equ T_PC, 0            # thread block: x1..x31 at 8 * n
.equ T_FULL, 256        # 0: saved in a system call, 1: every register is saved, 2: it ended, every register but t1 and t2 is saved
.equ T_FP_VALID, 264
.equ T_MASK, 272        # system calls that the module imports
.equ T_FP, 280
.equ T_FCSR, 536
.equ T_TRACE, 712       # address of the trace slot that the thread's next call fills: 16 of 8 bytes, from a multiple of 256
.equ TRACE_RING, 128

.macro EACH_SAVED op, base
  \op s0, 8*8(\base)
  \op s1, 8*9(\base)
  \op s2, 8*18(\base)
  \op s3, 8*19(\base)
  \op s4, 8*20(\base)
  \op s5, 8*21(\base)
  \op s6, 8*22(\base)
  \op s7, 8*23(\base)
  \op s8, 8*24(\base)
  \op s9, 8*25(\base)
  \op s10, 8*26(\base)
  \op s11, 8*27(\base)
.endm

.macro EACH_CLOBBERED op, base
  \op ra, 8*1(\base)
  \op t0, 8*5(\base)
  \op t1, 8*6(\base)
  \op t2, 8*7(\base)
  \op a0, 8*10(\base)
  \op a1, 8*11(\base)
  \op a2, 8*12(\base)
  \op a3, 8*13(\base)
  \op a4, 8*14(\base)
  \op a5, 8*15(\base)
  \op a6, 8*16(\base)
  \op a7, 8*17(\base)
  \op t3, 8*28(\base)
  \op t4, 8*29(\base)
  \op t5, 8*30(\base)
  \op t6, 8*31(\base)
.endm

.macro EACH_FLOAT op, base
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  \op f\n, T_FP+8*\n(\base)
  .endr
.endm

.macro SAVE_ALL                      # of the thread gp, at a trap that the kernel entered with sp and tp exchanged
  EACH_CLOBBERED sd, gp
  EACH_SAVED sd, gp
  csrr t0, sscratch
  sd t0, 8*4(gp)
  csrr t0, sepc
  sd t0, T_PC(gp)
.endm

.macro TRACE_RESULT                  # a call returned a0: its slot is complete, the next one follows, the last one's follower is the first
  ld t2, T_TRACE(gp)
  sw a0, 4(t2)
  addi t2, t2, 8
  andi t2, t2, ~TRACE_RING
  sd t2, T_TRACE(gp)
.endm

.option arch, +d              # C here is soft-float; only the switch below touches the registers
.section .text.start
.globl _start
_start:                              # OpenSBI: a0 = hart, a1 = device tree
  csrw sie, zero
  la t0, __bss_start_words
  ld t1, 8(t0)
  ld t0, 0(t0)
1: bgeu t0, t1, 2f
  sd zero, 0(t0)
  sd zero, 8(t0)
  sd zero, 16(t0)
  sd zero, 24(t0)
  addi t0, t0, 32
  j 1b
2:
  la sp, kernel_stack_top
  la t0, trap_entry
  csrw stvec, t0
  mv a0, a1
  call kernel_start                  # does not return: leaves through kernel_enter_user
  .balign 8
__bss_start_words:
  .dword kernel_bss_start
  .dword kernel_end

.globl kernel_enter_user             # first entry to user mode: restores CURRENT
kernel_enter_user:
  ld t0, CURRENT(tp)
  csrw sscratch, tp
  li gp, 0
  j restore

.balign 4
trap_entry:
  csrrw tp, sscratch, tp
  csrr gp, sstatus
  andi gp, gp, 0x100
  bnez gp, kernel_fault
  ld gp, CURRENT(tp)
  sd sp, 8*2(gp)
  csrr sp, scause
  addi sp, sp, -8
  bnez sp, other_trap
  li t1, VIGIL_SYSCALL_COUNT
  ld t2, T_MASK(gp)
  bgeu a7, t1, unknown_call
  srl t2, t2, a7
  andi t2, t2, 1
  beqz t2, unknown_call
  ld t1, T_TRACE(gp)
  sw a1, 0(t1)                       # the first argument's low 24 bits, under the call's number
  sb a7, 3(t1)
  ld sp, STACK_TOP(tp)
  csrr t0, sepc
  addi t0, t0, 4
  sd t0, T_PC(gp)
  lla t1, syscall_table
  sh3add t1, a7, t1
  ld t1, 0(t1)
  ld a0, INSTANCE(tp)
  jalr t1
  ld t0, CURRENT(tp)
  bne t0, gp, switch
  TRACE_RESULT
  ld t1, T_PC(gp)
  ld sp, 8*2(gp)
  ld a1, 8*11(gp)
  ld a2, 8*12(gp)
  ld a3, 8*13(gp)
  ld a4, 8*14(gp)
  csrw sepc, t1
  csrrw tp, sscratch, tp
  sret

switch:                              # gp = thread that called, t0 = thread that runs next
  EACH_SAVED sd, gp
  csrr t1, sscratch
  sd t1, 8*4(gp)
  sd zero, T_FULL(gp)
restore:                             # gp = thread left (0: none), t0 = thread entered
  beq t0, gp, registers
  csrr t1, sstatus
  li t2, 0x6000
  and t3, t1, t2
  bne t3, t2, 1f
  beqz gp, 1f
  EACH_FLOAT fsd, gp                 # dirty: the thread left owns what is in the registers
  csrr t3, fcsr
  sd t3, T_FCSR(gp)
  li t3, 1
  sd t3, T_FP_VALID(gp)
  sd gp, FP_OWNER(tp)
1:
  mv gp, t0
  csrc sstatus, t2
  ld t3, T_FP_VALID(gp)
  bnez t3, 2f
  li t2, 0x2000                      # never used: initial
  csrs sstatus, t2
  j registers
2:
  li t2, 0x4000                      # clean
  ld t3, FP_OWNER(tp)
  beq t3, gp, 3f
  csrs sstatus, t2
  EACH_FLOAT fld, gp
  ld t3, T_FCSR(gp)
  csrw fcsr, t3
  sd gp, FP_OWNER(tp)
  li t3, 0x6000
  csrc sstatus, t3
3:
  csrs sstatus, t2
registers:
  mv gp, t0
  ld t1, T_PC(gp)
  csrw sepc, t1
  li t1, 0x100
  csrc sstatus, t1                   # return to user mode
  csrw sscratch, tp
  ld t1, T_FULL(gp)
  bnez t1, full
  EACH_SAVED ld, gp
  ld a0, 8*10(gp)
  TRACE_RESULT
  ld a1, 8*11(gp)
  ld a2, 8*12(gp)
  ld a3, 8*13(gp)
  ld a4, 8*14(gp)
  ld sp, 8*2(gp)
  ld tp, 8*4(gp)
  sret
full:
  EACH_SAVED ld, gp
  EACH_CLOBBERED ld, gp
  ld sp, 8*2(gp)
  ld tp, 8*4(gp)
  sret

unknown_call:                        # outside the import mask, or the module's own trap: ends the caller, whose registers are kept
  SAVE_ALL
  li t0, 2                           # all but t1 and t2
  sd t0, T_FULL(gp)
  ld sp, STACK_TOP(tp)
  mv a3, a2
  mv a2, a1
  mv a1, a7
  ld a0, INSTANCE(tp)
  call w2c_kernel_trap_bad_syscall
  ld t0, CURRENT(tp)
  j restore

other_trap:
  SAVE_ALL
  li t0, 1
  sd t0, T_FULL(gp)
  ld sp, STACK_TOP(tp)
  ld a0, INSTANCE(tp)
  csrr a1, scause
  csrr a2, stval
  call w2c_kernel_trap_taken
  ld t0, CURRENT(tp)
  j restore

kernel_fault:                        # a trap in the kernel itself: report and stop
  csrrw tp, sscratch, tp
  la sp, kernel_stack_top
  csrr a0, scause
  csrr a1, sepc
  csrr a2, stval
  call kernel_fault_report
1: wfi
  j 1b

.section .rodata
.balign 8
.globl syscall_table
syscall_table:
#include "syscall_table.inc"

.section .bss
.balign 16
kernel_stack:
  .space 16384
.globl kernel_stack_top
kernel_stack_top:
