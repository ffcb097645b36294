#!/usr/bin/python3
"""Makes a C header that holds a text file as one string constant.

usage: embed-text.py NAME INPUT OUTPUT
"""
import sys

name, source, target = sys.argv[1:]
with open(source, encoding="utf-8") as text:
    lines = text.read().splitlines()
with open(target, "w", encoding="utf-8") as out:
    out.write("#pragma once\n\nstatic const char %s[] =\n" % name)
    for line in lines:
        escaped = line.replace("\\", "\\\\").replace('"', '\\"')
        out.write('    "%s\\n"\n' % escaped)
    out.write("    ;\n")
