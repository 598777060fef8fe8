# The probe guest: a boot sector that shows whether an accelerator really runs guests.
#
# It writes to QEMU's debug console (port 0xe9):  R  at its start, a  .  for each of four timer
# interrupts in real mode,  L  in 64-bit mode, then a  +  after every two million rounds of a loop.
# Both parts are needed: there are hosts whose KVM runs the first one well and the second one a
# thousand times slower than emulation, which looks like a hang when a kernel is started.
#
# accel.py holds the assembled bytes (nobody needs an assembler to run the lab); a test compares:
#   as --64 -o probe.o probe.S && ld -Ttext=0x7c00 --oformat binary -o probe.bin probe.o
.code16
.globl _start
_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7c00, %sp
	sti				# the firmware's timer ticks at 18.2 Hz
	movb $'R', %al
	outb %al, $0xe9
	mov $4, %cx
tick:	hlt				# until the next interrupt
	movb $'.', %al
	outb %al, $0xe9
	loop tick
	cli
	# Page tables at 0x1000 (PML4), 0x2000 (PDPT), 0x3000 (PD): the first 2 MiB, one to one.
	mov $0x1000, %di
	mov $0x1800, %cx
	xor %ax, %ax
	cld
	rep stosw
	movw $0x2003, 0x1000
	movw $0x3003, 0x2000
	movw $0x0083, 0x3000
	movl $0x1000, %eax
	mov %eax, %cr3
	mov $0x20, %eax			# CR4.PAE
	mov %eax, %cr4
	movl $0xc0000080, %ecx		# EFER.LME
	rdmsr
	orl $0x100, %eax
	wrmsr
	lgdt gdtr
	movl $0x80000001, %eax		# CR0.PG and CR0.PE
	mov %eax, %cr0
	ljmp $8, $long
.code64
long:	movb $'L', %al
	outb %al, $0xe9
again:	movl $2000000, %ecx
1:	imul $3, %rax, %rax
	inc %rax
	decl %ecx
	jnz 1b
	movb $'+', %al
	outb %al, $0xe9
	jmp again
.align 8
gdt:	.quad 0
	.quad 0x00209a0000000000	# 64-bit code
gdtr:	.word 15
	.long gdt
