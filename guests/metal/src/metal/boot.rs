//! From the entry that PVH loaders jump to (32 bits, no paging, `ebx` with what they say) into long
//! mode, with the first 8 MiB mapped and interrupts off.
#![expect(unsafe_code, reason = "nothing else gets a processor into long mode")]

use core::arch::global_asm;

// SAFETY: the entry is reached once, by the loader. It sets up what `run` needs: a stack, cleared
// variables, and segments and page tables for 64-bit code.
global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .long 4, 8, 18                  // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad start

    .section .text.boot, "ax"
    .code32
    .global start
start:
    cld
    cli
    xor eax, eax
    mov edi, offset bss_start
    mov ecx, offset bss_end
    sub ecx, edi
    shr ecx, 2
    rep stosd
    mov esp, {stack}

    mov eax, offset table_1 + 3
    mov [table_top], eax
    mov eax, offset table_2 + 3
    mov [table_1], eax
    mov dword ptr [table_2], 0x000083
    mov dword ptr [table_2 + 8], 0x200083
    mov dword ptr [table_2 + 16], 0x400083
    mov dword ptr [table_2 + 24], 0x600083
    mov eax, offset table_top
    mov cr3, eax
    mov eax, 0x620                  // PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov ecx, 0xc0000080             // EFER: long mode
    xor edx, edx
    mov eax, 0x100
    wrmsr
    mov eax, 0x80000013             // paging, ET, MP, protection
    mov cr0, eax
    lgdt [segments_pointer]
    .byte 0xea                      // jmp 8:long_mode
    .long long_mode
    .word 8

    .code64
long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov edi, ebx
    xor ebp, ebp
    call {run}
    ud2

    .section .rodata
    .balign 8
segments:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
segments_pointer:
    .word 23
    .quad segments

    .section .bss
    .balign 4096
    .global table_top, table_1, table_2
table_top: .skip 4096
table_1: .skip 4096
table_2: .skip 4096
    .text
"#,
    run = sym crate::run,
    stack = const crate::memory::STACK,
);
