# Writes a file's bytes as a C array: cmake -DFROM=FILE -DTO=FILE.c -DNAME=array -P embed.cmake
# NAME has the bytes and NAME_size how many; who uses them declares them.
file(READ ${FROM} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(................................)" "\\1\n\t" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
get_filename_component(from ${FROM} NAME)
file(WRITE ${TO} "/* ${from}, written by embed.cmake */
#include <stddef.h>

extern const unsigned char ${NAME}[];
extern const size_t ${NAME}_size;
const unsigned char ${NAME}[] = {
\t${bytes}
};
const size_t ${NAME}_size = ${size};
")
