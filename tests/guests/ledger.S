/* ledger: a guest that proves what a copy of its disks is worth.
 *
 * A boot sector and the sectors behind it, in real mode, with BIOS disk calls and the first serial port. It writes numbered
 * records in a known order over all its disks, each one only after the one before is complete. The disks of any moment are
 * therefore the state after some number n and nothing else; docs/design/ledger-guest.md gives the layout and why a copy that
 * mixes two moments, or two histories, cannot pass. tests/lib/ledger.py makes the same check from outside.
 *
 * Lines on the serial port:
 *
 *   LEDGER LAST n          at start: the disks are whole up to n, writing goes on with n + 1
 *   LEDGER HOLE n disk d   at start: record n, which belongs on disk d, is missing, wrong, or should not be there. Stops
 *   LEDGER AT n            now and then: every record up to n is written
 *   LEDGER ERROR what disk d code c     a BIOS call failed. Stops
 *   LEDGER DISKS n         the BIOS shows n disks, which is not the number the ledger was made for. Stops
 *
 * Memory: below 7000 the stack, 7c00 this program, 9000 variables, b000 CRC table, 1000:0 buffer of 64 KiB, 2000:0 numbers, 3000:0 checksums, 4000:0 links
 * (all three by index, four bytes each), 5000:0 record and bulk data. What is written never shares a page with code: QEMU's
 * emulation would translate the code again after each write.
 */
    .intel_syntax noprefix
    .code16
    .globl start

    .set CODE_SECTORS, 8            /* what the boot sector loads, itself included */
    .set CRC_TABLE, 0xb000
    .set BUFFER, 0x1000
    .set NUMBERS, 0x2000
    .set CHECKSUMS, 0x3000
    .set LINKS, 0x4000
    .set RECORD, 0x5000
    .set DISKS_MAX, 8
    .set BAD, 0xffffffff

    /* Fields of a record, one sector */
    .set REC_MAGIC, 0
    .set REC_ID, 4
    .set REC_NUMBER, 8
    .set REC_SEED, 12
    .set REC_LINK, 16
    .set REC_FILLER, 20
    .set REC_CHECKSUM, 508
    .set MAGIC, 0x474c5256          /* "VRLG" */

    .bss
variables:
packet:           .skip 2           /* of the BIOS calls that read and write */
packet_count:     .skip 2
packet_offset:    .skip 2
packet_segment:   .skip 2
packet_sector:    .skip 8
last:             .skip 4
n_places:         .skip 4
place:            .skip 4
index:            .skip 4
number:           .skip 4
sum:              .skip 4
link:             .skip 4
seed:             .skip 4
random:           .skip 4
disk:             .skip 2
tick:             .skip 2
know_link:        .skip 4
stride:           .skip 4 * DISKS_MAX
bulk_count:       .skip 4 * DISKS_MAX
n_sectors:        .skip 4 * DISKS_MAX
drive_parameters: .skip 30
    .set VARIABLES_SIZE, . - variables

    .text
start:
    jmp begin
    .balign 4
    /* The configuration, which ledger.py fills in; same order as CONFIG there */
config_magic:     .ascii "VRLEDGER"
config_id:        .long 1           /* of this ledger; in every record */
config_disks:     .word 2
config_slots:     .word 4096        /* record places per disk, a power of two */
config_step:      .word 2531        /* odd: place of the k-th record of a disk is k * step mod slots */
config_step_back: .word 0           /* inverse of step mod slots */
config_reserved:  .long 0           /* sectors at the end of each disk for bulk writes */
config_per_tick:  .word 1           /* records per timer tick (18.2 a second); 0: as many as the disks take */
config_report:    .word 2           /* LEDGER AT after so many records */
config_bulk:      .word 0           /* 64 KiB bulk writes per record */

begin:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7000
    sti
    cld
    mov di, offset variables
    mov cx, VARIABLES_SIZE
    xor al, al
    rep stosb
    ljmp 0, offset begin_flat
begin_flat:
    mov byte ptr [packet], 16       /* its own size */
    mov word ptr [packet_count], CODE_SECTORS - 1
    mov word ptr [packet_offset], 0x7e00
    mov word ptr [packet_segment], 0
    mov dword ptr [packet_sector], 1
    mov si, offset packet
    mov ah, 0x42
    mov dl, 0x80
    int 0x13
    jnc main
stuck:
    hlt
    jmp stuck

    .org 510
    .word 0xaa55

/* ---- from here on: loaded by the code above ---- */

main:
    call make_crc_table
    mov al, [0x475]                 /* number of hard disks, kept by the BIOS */
    xor ah, ah
    cmp ax, [config_disks]
    je 1f
    mov si, offset text_disks
    call print
    movzx eax, byte ptr [0x475]
    call print_number
    jmp end_line_and_stop
1:  movzx eax, word ptr [config_disks]
    movzx ebx, word ptr [config_slots]
    imul eax, ebx
    mov [n_places], eax
    call measure_disks
    call clear_tables
    call read_all
    call check_order                /* prints a hole and stops */

    mov si, offset text_last
    call print
    mov eax, [last]
    call print_number
    call end_line
    rdtsc
    mov [seed], eax
    mov [random], eax
    jmp write_on

/* ---- reading everything ---- */

/* stride[d] = (sectors of disk d - reserved) / slots */
measure_disks:
    xor cx, cx
1:  mov [disk], cx
    mov word ptr [drive_parameters], 26
    mov si, offset drive_parameters
    mov dl, cl
    add dl, 0x80
    mov ah, 0x48
    push cx
    int 0x13
    pop cx
    jnc 2f
    mov si, offset text_size
    jmp disk_error
2:  mov eax, [drive_parameters + 16]
    movzx ebx, cx
    mov [ebx * 4 + n_sectors], eax
    sub eax, [config_reserved]
    xor edx, edx
    movzx esi, word ptr [config_slots]
    div esi
    mov [ebx * 4 + stride], eax
    inc cx
    cmp cx, [config_disks]
    jb 1b
    ret

clear_tables:
    mov ax, NUMBERS
    call clear_segment
    mov ax, CHECKSUMS
    call clear_segment
    mov ax, LINKS
clear_segment:
    mov es, ax
    xor di, di
    xor eax, eax
    mov cx, 0x4000
    rep stosd
    mov es, ax
    ret

/* Fills the tables from all places of all disks, front to back: in one read what lies within 64 KiB. */
read_all:
    mov word ptr [disk], 0
1:  mov dword ptr [place], 0
2:  movzx ebx, word ptr [disk]
    mov esi, [ebx * 4 + stride]
    mov eax, [place]
    imul eax, esi                   /* first sector of this place */
    mov cx, 1                       /* places in this read */
    cmp esi, 128
    ja 3f
    push eax
    mov eax, 128
    xor edx, edx
    div esi
    mov cx, ax
    pop eax
    jmp 4f
3:  add eax, esi                    /* far apart: read just the last sector of the stride, where the record is */
    dec eax
    mov esi, 1
4:  movzx edx, word ptr [config_slots]
    sub edx, [place]
    movzx ecx, cx
    cmp ecx, edx
    jbe 5f
    mov ecx, edx
5:  mov [packet_sector], eax
    mov eax, esi
    imul eax, ecx
    mov [packet_count], ax
    mov word ptr [packet_segment], BUFFER
    mov word ptr [packet_offset], 0
    mov ah, 0x42
    mov bx, offset text_read
    call disk_call
    mov edi, esi
    dec edi
    shl edi, 9                      /* first record in the buffer */
    shl esi, 9                      /* and from one to the next */
6:  push ecx
    push esi
    push edi
    call take_record
    pop edi
    pop esi
    pop ecx
    add edi, esi
    inc dword ptr [place]
    dec ecx
    jnz 6b
    movzx eax, word ptr [config_slots]
    cmp [place], eax
    jb 2b
    inc word ptr [disk]
    mov ax, [disk]
    cmp ax, [config_disks]
    jb 1b
    ret

/* The sector at BUFFER:di belongs to [place] of [disk]: note its number, checksum and link, 0 when empty, BAD when neither. */
take_record:
    movzx eax, word ptr [config_step_back]
    imul eax, [place]
    movzx ebx, word ptr [config_slots]
    dec ebx
    and eax, ebx
    movzx ebx, word ptr [config_disks]
    imul eax, ebx
    movzx ebx, word ptr [disk]
    add eax, ebx
    mov [index], eax

    mov ax, BUFFER
    mov es, ax
    push di
    mov cx, 128
    xor eax, eax
    repe scasd
    pop di
    je 9f                           /* all zero: empty, as the tables are */
    mov dword ptr [number], BAD
    cmp dword ptr es:[di + REC_MAGIC], MAGIC
    jne 8f
    mov eax, es:[di + REC_ID]
    cmp eax, [config_id]
    jne 8f
    call checksum
    cmp eax, es:[di + REC_CHECKSUM]
    jne 8f
    mov [sum], eax
    mov eax, es:[di + REC_LINK]
    mov [link], eax
    mov eax, es:[di + REC_NUMBER]
    mov ecx, eax
    xor edx, edx
    div dword ptr [n_places]
    cmp edx, [index]
    jne 8f                          /* a good record in a place that is not its own */
    mov [number], ecx
    cmp ecx, [last]
    jbe 8f
    mov [last], ecx
8:  mov ebx, [index]
    shl ebx, 2
    mov ax, NUMBERS
    mov es, ax
    mov eax, [number]
    mov es:[bx], eax
    mov ax, CHECKSUMS
    mov es, ax
    mov eax, [sum]
    mov es:[bx], eax
    mov ax, LINKS
    mov es, ax
    mov eax, [link]
    mov es:[bx], eax
9:  xor ax, ax
    mov es, ax
    ret

/* ---- is it the state after [last], and that only? ---- */

check_order:
    mov eax, [config_id]
    mov [sum], eax                  /* what record 1 links to */
    mov ecx, [last]
    sub ecx, [n_places]
    jae 1f
    xor ecx, ecx                    /* the first lap: record 1 is there */
1:  mov byte ptr [know_link], 1
    test ecx, ecx
    jz 2f
    mov byte ptr [know_link], 0     /* the record before the oldest one is overwritten */
2:  inc ecx
    cmp ecx, [last]
    ja 5f
    call index_of
    mov ax, NUMBERS
    mov es, ax
    cmp es:[bx], ecx
    jne hole
    mov ax, LINKS
    mov es, ax
    mov eax, es:[bx]
    cmp byte ptr [know_link], 0
    je 3f
    cmp eax, [sum]
    jne hole
3:  mov byte ptr [know_link], 1
    mov ax, CHECKSUMS
    mov es, ax
    mov eax, es:[bx]
    mov [sum], eax
    jmp 2b
5:  /* in the first lap, places of later numbers must be empty */
    cmp ecx, [n_places]
    ja 6f
    call index_of
    mov ax, NUMBERS
    mov es, ax
    cmp dword ptr es:[bx], 0
    jne hole
    inc ecx
    jmp 5b
6:  xor ax, ax
    mov es, ax
    mov eax, [sum]
    mov [link], eax                 /* the next record links to it */
    ret

/* ecx: number -> bx: its offset in the tables. Keeps ecx. */
index_of:
    mov eax, ecx
    xor edx, edx
    div dword ptr [n_places]
    mov ebx, edx
    shl ebx, 2
    ret

/* ecx: number */
hole:
    xor ax, ax
    mov es, ax
    mov si, offset text_hole
    call print
    mov eax, ecx
    push ecx
    call print_number
    mov si, offset text_disk
    call print
    pop eax
    xor edx, edx
    movzx ebx, word ptr [config_disks]
    div ebx
    mov eax, edx
    call print_number
    jmp end_line_and_stop

/* ---- writing ---- */

write_on:
    mov ax, [0x46c]
    mov [tick], ax
    mov cx, [config_per_tick]
1:  push cx
    inc dword ptr [last]
    call write_record
    call write_bulk
    mov eax, [last]
    xor edx, edx
    movzx ebx, word ptr [config_report]
    div ebx
    test edx, edx
    jnz 2f
    mov si, offset text_at
    call print
    mov eax, [last]
    call print_number
    call end_line
2:  pop cx
    cmp word ptr [config_per_tick], 0
    je 1b
    dec cx
    jnz 1b
3:  mov ax, [0x46c]
    cmp ax, [tick]
    jne write_on
    hlt
    jmp 3b

write_record:
    mov ax, RECORD
    mov es, ax
    xor di, di
    mov dword ptr es:[di + REC_MAGIC], MAGIC
    mov eax, [config_id]
    mov es:[di + REC_ID], eax
    mov eax, [last]
    mov es:[di + REC_NUMBER], eax
    mov eax, [seed]
    mov es:[di + REC_SEED], eax
    mov eax, [link]
    mov es:[di + REC_LINK], eax
    mov di, REC_FILLER
    mov cx, (REC_CHECKSUM - REC_FILLER) / 4
    call fill
    xor di, di
    call checksum
    mov es:[di + REC_CHECKSUM], eax
    mov [link], eax
    xor ax, ax
    mov es, ax

    mov eax, [last]
    xor edx, edx
    movzx ebx, word ptr [config_disks]
    div ebx
    mov [disk], dx
    movzx ebx, word ptr [config_step]
    imul eax, ebx
    movzx ebx, word ptr [config_slots]
    dec ebx
    and eax, ebx
    inc eax
    movzx ebx, word ptr [disk]
    imul eax, [ebx * 4 + stride]
    dec eax
    mov [packet_sector], eax
    mov word ptr [packet_count], 1
    mov word ptr [packet_segment], RECORD
    mov word ptr [packet_offset], 0
    mov ah, 0x43
    mov bx, offset text_write
    jmp disk_call

/* Load for the link: fresh data round and round the reserved end of the record's disk. */
write_bulk:
    mov cx, [config_bulk]
    jcxz 9f
1:  push cx
    mov ax, RECORD
    mov es, ax
    xor di, di
    mov cx, 0x4000
    call fill
    xor ax, ax
    mov es, ax
    mov eax, [config_reserved]
    shr eax, 7
    mov ecx, eax
    movzx ebx, word ptr [disk]
    mov eax, [ebx * 4 + bulk_count]
    inc dword ptr [ebx * 4 + bulk_count]
    xor edx, edx
    div ecx
    mov eax, edx
    shl eax, 7
    add eax, [ebx * 4 + n_sectors]
    sub eax, [config_reserved]
    mov [packet_sector], eax
    mov word ptr [packet_count], 128
    mov word ptr [packet_segment], RECORD
    mov word ptr [packet_offset], 0
    mov ah, 0x43
    mov bx, offset text_bulk
    call disk_call
    pop cx
    loop 1b
9:  ret

/* ---- small things ---- */

/* es:di, cx double words: pseudo-random (xorshift), so that nothing compresses or repeats */
fill:
    mov eax, [random]
    xor eax, [last]
    jnz 1f
    inc eax
1:  mov edx, eax
    shl edx, 13
    xor eax, edx
    mov edx, eax
    shr edx, 17
    xor eax, edx
    mov edx, eax
    shl edx, 5
    xor eax, edx
    stosd
    dec cx
    jnz 1b
    mov [random], eax
    ret

/* eax: CRC-32 (as zlib's) of the record at es:di without its last four bytes. Keeps di. */
checksum:
    push di
    mov cx, REC_CHECKSUM
    mov eax, 0xffffffff
1:  movzx ebx, al
    xor bl, es:[di]
    shr eax, 8
    xor eax, [ebx * 4 + CRC_TABLE]
    inc di
    loop 1b
    not eax
    pop di
    ret

make_crc_table:
    xor ebx, ebx
1:  mov eax, ebx
    mov cx, 8
2:  shr eax, 1
    jnc 3f
    xor eax, 0xedb88320
3:  loop 2b
    mov [ebx * 4 + CRC_TABLE], eax
    inc ebx
    cmp ebx, 256
    jb 1b
    ret

/* The call ah of [packet] on [disk]; on failure: the text at bx, and stops. Keeps esi, edi, ecx. */
disk_call:
    push esi
    push edi
    push ecx
    push bx
    mov si, offset packet
    mov dl, [disk]
    add dl, 0x80
    xor al, al
    int 0x13
    pop bx
    pop ecx
    pop edi
    pop esi
    jc 1f
    ret
1:  mov si, bx
disk_error:                         /* ah: code, si: what failed */
    push ax
    push si
    mov si, offset text_error
    call print
    pop si
    call print
    mov si, offset text_disk
    call print
    movzx eax, word ptr [disk]
    call print_number
    mov si, offset text_code
    call print
    pop ax
    movzx eax, ah
    call print_number
end_line_and_stop:
    call end_line
    cli
1:  hlt
    jmp 1b

end_line:
    mov si, offset text_end
print:                              /* ds:si, ends with 0 */
    lodsb
    test al, al
    jz 9f
    call print_char
    jmp print
print_char:
    push dx
    push ax
    mov dx, 0x3fd
1:  in al, dx
    test al, 0x20
    jz 1b
    pop ax
    mov dx, 0x3f8
    out dx, al
    pop dx
9:  ret
print_number:                       /* eax, decimal; takes ebx, ecx, edx */
    mov ebx, 10
    xor cx, cx
1:  xor edx, edx
    div ebx
    push dx
    inc cx
    test eax, eax
    jnz 1b
2:  pop ax
    add al, '0'
    call print_char
    loop 2b
    ret

text_last:   .asciz "LEDGER LAST "
text_hole:   .asciz "LEDGER HOLE "
text_at:     .asciz "LEDGER AT "
text_disks:  .asciz "LEDGER DISKS "
text_error:  .asciz "LEDGER ERROR "
text_disk:   .asciz " disk "
text_code:   .asciz " code "
text_read:   .asciz "read"
text_write:  .asciz "write"
text_bulk:   .asciz "bulk write"
text_size:   .asciz "size"
text_end:    .asciz "\r\n"

    .org CODE_SECTORS * 512
