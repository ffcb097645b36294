#!/usr/bin/env python3
"""Tests of the MOF reader, by unittest."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cim_tables  # noqa: E402
import mof  # noqa: E402

QUALIFIERS = """
Qualifier Key : boolean = false, Scope(property), Flavor(DisableOverride);
Qualifier Override : string, Scope(any), Flavor(Restricted);
Qualifier ValueMap : string[], Scope(any);
Qualifier Values : string[], Scope(any);
Qualifier Out : boolean = false, Scope(parameter);
Qualifier EmbeddedInstance : string, Scope(any);
"""


def parse(text):
    return mof.parse_texts([("qualifiers", QUALIFIERS), ("t.mof", text)])


class Reading(unittest.TestCase):
    def test_inheritance_keeps_the_origin_and_the_key(self):
        schema = parse('class A { [Key] string Id; uint8 B[]; }; class C : a { [Override("Id")] string ID; };')
        below = schema.classes["c"]
        self.assertEqual([p.name for p in below.properties], ["B", "ID"])
        self.assertEqual([p.origin.name for p in below.properties], ["A", "C"])
        self.assertIs(below.properties[1].qualifier("key").value, True)

    def test_methods_of_the_class_come_first_in_declared_order(self):
        schema = parse("class A { uint32 Z(); }; class B : A { uint32 Y([Out] A REF Job, string X[]); uint32 C(); };")
        methods = schema.classes["b"].methods
        self.assertEqual([m.name for m in methods], ["Y", "C", "Z"])
        self.assertEqual([p.reference_class for p in methods[0].parameters], ["A", None])
        self.assertTrue(methods[0].parameters[1].is_array)

    def test_strings_join_and_escapes_are_read(self):
        schema = parse('class A { [ValueMap { "a" "b\\"\\x41", "c" }, Values { "1", "2" }] string B; };')
        self.assertEqual(schema.classes["a"].properties[0].qualifier("ValueMap").value, ['ab"A', "c"])

    def test_errors_name_the_place(self):
        cases = [
            ("class A { string B; }", "t.mof:1:22: expected ';'"),
            ("class A {\n  strang B; };", "t.mof:2:3: 'strang' is no type"),
            ("class A : B { };", "superclass 'B' is not declared"),
            ("class A : B { }; class B : A { };", "its own ancestor"),
            ("class A { [Kee] string B; };", "qualifier 'Kee' is not declared"),
            ("class A { B REF C; };", "class 'B' of reference 'C' is not declared"),
            ('class A { [EmbeddedInstance("X")] string C; };', "embedded class 'X'"),
            ("class A { string B; }; class C : A { string B; };", "needs the qualifier Override"),
            ('class A { string B; }; class C : A { [Override("B")] uint8 B; };', "has another type"),
            ('class A { [ValueMap { "1" }, Values { }] string B; };', "differ in length"),
            ("class A { }; class a { };", "declared twice"),
            ("class A { ? };", "this character starts nothing known"),
        ]
        for text, message in cases:
            with self.subTest(text=text), self.assertRaises(mof.MofError) as caught:
                parse(text)
            self.assertIn(message, str(caught.exception))


class Writing(unittest.TestCase):
    def test_c_strings_are_safe(self):
        self.assertEqual(cim_tables.c_string('a"\\\n\u00e9?'), '"a\\"\\\\\\n\\303\\251\\077"')

    def test_equal_tables_are_written_once(self):
        text = cim_tables.Writer(parse("class A { [Key] string B; }; class C { [Key] string B; };")).text()
        self.assertEqual(text.count("static const CimQualifier"), 1)


if __name__ == "__main__":
    unittest.main()
