#!/usr/bin/env python3
"""Turns the MOF files of schema/ into the constant tables that src/cim/class-table.h declares.

    cim_tables.py -o FILE.c SCHEMA.mof...
"""

import argparse
import sys

import mof

C_TYPES = {name: "CIM_" + name.upper() for name in mof.SIMPLE_TYPES}
C_TYPES["reference"] = "CIM_REFERENCE"


def c_string(text):
    if text is None:
        return "NULL"
    out = ""
    for byte in text.encode("utf-8"):
        char = chr(byte)
        if char in '"\\':
            out += "\\" + char
        elif char == "\n":
            out += "\\n"
        elif char == "?" or not 32 <= byte < 127:
            out += f"\\{byte:03o}"  # '?': no trigraphs
        else:
            out += char
    return f'"{out}"'


def mof_text(value):
    """A qualifier's value as MOF writes it; the one form that C has to read back."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, list):
        return "{" + ", ".join(mof_text(item) for item in value) + "}"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def flags(*pairs):
    return " | ".join(name for name, is_set in pairs if is_set) or "0"


def is_true(item, qualifier_name, default=False):
    qualifier = item.qualifier(qualifier_name)
    return default if qualifier is None else qualifier.value is True


class Writer:
    def __init__(self, schema):
        self.schema = schema
        self.lines = []
        self.tables = {}  # body of a table -> its name: equal tables are written once

    def line(self, text=""):
        self.lines.append(text)

    def table(self, c_type, rows):
        """Writes a table of rows; its name and length as an initializer."""
        if not rows:
            return "NULL, 0"
        body = (c_type, tuple(rows))
        if body not in self.tables:
            name = f"table_{len(self.tables)}"
            self.tables[body] = name
            self.line(f"static const {c_type} {name}[] = {{")
            for row in rows:
                self.line(f"    {{ {row} }},")
            self.line("};")
        return f"{self.tables[body]}, {len(rows)}"

    def qualifiers(self, qualifiers):
        rows = []
        for q in qualifiers:
            is_array = "true" if q.is_array else "false"
            rows.append(f"{c_string(q.name)}, {C_TYPES[q.type]}, {is_array}, {c_string(mof_text(q.value))}")
        return self.table("CimQualifier", rows)

    def property_row(self, item, item_flags):
        embedded = item.qualifier("EmbeddedInstance")
        reference_class = item.reference_class or (embedded.value if embedded else None)
        origin = f"&class_{item.origin.name}" if item.origin else "NULL"
        return (f"{c_string(item.name)}, {C_TYPES[item.type]}, {item_flags}, {c_string(reference_class)}, "
                f"{self.qualifiers(item.qualifiers)}, {origin}")

    def property(self, item):
        return self.property_row(item, flags(("CIM_KEY", is_true(item, "Key")), ("CIM_ARRAY", item.is_array),
                                             ("CIM_WRITE", is_true(item, "Write"))))

    def parameter(self, item):
        is_out = is_true(item, "Out")
        return self.property_row(item, flags(("CIM_ARRAY", item.is_array), ("CIM_IN", is_true(item, "In", not is_out)),
                                             ("CIM_OUT", is_out)))

    def method(self, item):
        parameters = self.table("CimProperty", [self.parameter(p) for p in item.parameters])
        return (f"{c_string(item.name)}, {C_TYPES[item.type]}, {flags(('CIM_STATIC', is_true(item, 'Static')))}, "
                f"{parameters}, {self.qualifiers(item.qualifiers)}, &class_{item.origin.name}")

    def cim_class(self, item):
        properties = self.table("CimProperty", [self.property(p) for p in item.properties])
        methods = self.table("CimMethod", [self.method(m) for m in item.methods])
        qualifiers = self.qualifiers(item.qualifiers)
        superclass = f"&class_{item.superclass.name}" if item.superclass else "NULL"
        class_flags = flags(("CIM_ABSTRACT", is_true(item, "Abstract")), ("CIM_ASSOCIATION", is_true(item, "Association")))
        self.line(f"static const CimClass class_{item.name} = {{")
        self.line(f"    {c_string(item.name)}, {c_string(item.cim_namespace)}, {superclass}, {class_flags},")
        self.line(f"    {properties}, {methods}, {qualifiers},")
        self.line("};")

    def namespace(self, index, name):
        classes = sorted((c.name for c in self.schema.classes.values() if c.cim_namespace == name), key=str.lower)
        self.line(f"static const CimClass *const namespace_{index}[] = {{")
        for class_name in classes:
            self.line(f"    &class_{class_name},")
        self.line("    NULL,")
        self.line("};")
        return f"{c_string(name)}, namespace_{index}, {len(classes)}"

    def text(self):
        self.line("/* Made by generator/cim_tables.py from schema/; do not edit. */")
        self.line('#include "cim/class-table.h"')
        self.line()
        for item in self.schema.classes.values():
            self.line(f"static const CimClass class_{item.name};")
        for item in self.schema.classes.values():
            self.line()
            self.cim_class(item)
        self.line()
        names = sorted({c.cim_namespace for c in self.schema.classes.values()})
        rows = [self.namespace(index, name) for index, name in enumerate(names)]
        self.line("const CimNamespaceTable cim_namespace_tables[] = {")
        for row in rows:
            self.line(f"    {{ {row} }},")
        self.line("    { NULL, NULL, 0 },")
        self.line("};")
        return "\n".join(self.lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("schema", nargs="+")
    arguments = parser.parse_args()
    try:
        schema = mof.parse_files(arguments.schema)
    except mof.MofError as error:
        sys.exit(str(error))
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(Writer(schema).text())


if __name__ == "__main__":
    main()
