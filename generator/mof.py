"""Reads MOF (DMTF DSP0004 Annex A, the parts a schema needs): qualifier types and classes.

parse_files() gives a Schema whose classes are resolved: a superclass is known, inherited features are merged, each
qualifier has a declared type. Every error is a MofError with file, line and column.
"""

import re

SIMPLE_TYPES = {
    "boolean", "uint8", "sint8", "uint16", "sint16", "uint32", "sint32", "uint64", "sint64", "real32", "real64",
    "char16", "string", "datetime",
}

TOKEN = re.compile(r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<char>'(?:[^'\\\n]|\\.)')
  | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>[\[\](){},;:=\#$])
""", re.VERBOSE | re.DOTALL)

ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "'": "'", "\\": "\\"}


class MofError(Exception):
    pass


class Token:
    def __init__(self, kind, text, where):
        self.kind = kind
        self.text = text
        self.where = where


class Qualifier:
    def __init__(self, name, value, where):
        self.name = name
        self.value = value  # None, bool, str (numbers too), or a list of these
        self.where = where
        self.type = None
        self.is_array = False


class QualifierType:
    def __init__(self, name, type_name, is_array, default, flavors):
        self.name = name
        self.type = type_name
        self.is_array = is_array
        self.default = default
        self.flavors = flavors

    def is_inherited(self):
        return "restricted" not in self.flavors


class Feature:
    """A property, a parameter, or (with parameters not None) a method."""

    def __init__(self, name, type_name, reference_class, is_array, qualifiers, parameters, where):
        self.name = name
        self.type = type_name  # a simple type, or "reference"
        self.reference_class = reference_class
        self.is_array = is_array
        self.qualifiers = qualifiers
        self.parameters = parameters
        self.where = where
        self.origin = None  # the class that declared it first

    def qualifier(self, name):
        return find_qualifier(self.qualifiers, name)


class MofClass:
    def __init__(self, name, superclass_name, qualifiers, features, cim_namespace, where):
        self.name = name
        self.superclass_name = superclass_name
        self.superclass = None
        self.qualifiers = qualifiers
        self.features = features
        self.cim_namespace = cim_namespace
        self.where = where
        self.properties = []  # with inherited ones, sorted by name
        self.methods = []     # with inherited ones, own ones first in declared order

    def qualifier(self, name):
        return find_qualifier(self.qualifiers, name)

    def ancestors(self):
        above = self.superclass
        while above is not None:
            yield above
            above = above.superclass


class Schema:
    def __init__(self):
        self.qualifier_types = {}
        self.classes = {}  # by lower-case name, superclasses before subclasses


def find_qualifier(qualifiers, name):
    for qualifier in qualifiers:
        if qualifier.name.lower() == name.lower():
            return qualifier
    return None


def tokenize(text, file_name):
    tokens = []
    position = line = column = 0
    line = column = 1
    while position < len(text):
        match = TOKEN.match(text, position)
        where = f"{file_name}:{line}:{column}"
        if match is None:
            raise MofError(f"{where}: this character starts nothing known: {text[position]!r}")
        found = match.group()
        if match.lastgroup != "space":
            tokens.append(Token(match.lastgroup, found, where))
        newlines = found.count("\n")
        line += newlines
        column = len(found) - found.rfind("\n") if newlines else column + len(found)
        position = match.end()
    tokens.append(Token("end", "end of file", f"{file_name}:{line}:{column}"))
    return tokens


def unescape(literal):
    def replace(match):
        body = match.group(1)
        if body[0] in "xX":
            return chr(int(body[1:], 16))
        if body not in ESCAPES:
            raise ValueError(body)
        return ESCAPES[body]
    return re.sub(r"\\([xX][0-9a-fA-F]{1,4}|.)", replace, literal[1:-1])


class Parser:
    """Recursive descent; one method per rule of the grammar, named after it."""

    def __init__(self, schema, text, file_name):
        self.schema = schema
        self.tokens = tokenize(text, file_name)
        self.next = 0
        self.cim_namespace = "root/cimv2"

    def fail(self, message):
        raise MofError(f"{self.peek().where}: {message}, not '{self.peek().text}'")

    def peek(self):
        return self.tokens[self.next]

    def take(self):
        token = self.tokens[self.next]
        self.next += 1
        return token

    def at(self, text):
        token = self.peek()
        return token.kind in ("mark", "name") and token.text.lower() == text.lower()

    def accept(self, text):
        if not self.at(text):
            return False
        self.next += 1
        return True

    def expect(self, text):
        if not self.accept(text):
            self.fail(f"expected '{text}'")

    def name(self, what):
        if self.peek().kind != "name":
            self.fail(f"expected the name of {what}")
        return self.take().text

    def specification(self):
        while self.peek().kind != "end":
            if self.accept("#"):
                self.compiler_directive()
            elif self.at("Qualifier"):
                self.qualifier_declaration()
            else:
                self.class_declaration()

    def compiler_directive(self):
        self.expect("pragma")
        name = self.name("a pragma")
        self.expect("(")
        value = self.string()
        self.expect(")")
        if name.lower() != "namespace":
            self.fail(f"pragma '{name}' is not known")
        self.cim_namespace = value.replace("\\", "/").strip("/")

    def qualifier_declaration(self):
        self.expect("Qualifier")
        name = self.name("a qualifier")
        self.expect(":")
        type_name = self.simple_type()
        is_array = self.array_mark()
        default = self.initializer() if self.accept("=") else None
        self.expect(",")
        self.expect("Scope")
        self.name_list()
        flavors = self.flavor() if self.accept(",") else []
        self.expect(";")
        if name.lower() in self.schema.qualifier_types:
            self.fail(f"qualifier '{name}' is declared twice")
        self.schema.qualifier_types[name.lower()] = QualifierType(name, type_name, is_array, default, flavors)

    def flavor(self):
        self.expect("Flavor")
        return self.name_list()

    def name_list(self):
        self.expect("(")
        names = [self.name("a list entry").lower()]
        while self.accept(","):
            names.append(self.name("a list entry").lower())
        self.expect(")")
        return names

    def class_declaration(self):
        qualifiers = self.qualifier_list()
        where = self.peek().where
        self.expect("class")
        name = self.name("a class")
        superclass = self.name("a superclass") if self.accept(":") else None
        self.expect("{")
        features = []
        while not self.accept("}"):
            features.append(self.class_feature())
        self.expect(";")
        if name.lower() in self.schema.classes:
            raise MofError(f"{where}: class '{name}' is declared twice")
        self.schema.classes[name.lower()] = MofClass(name, superclass, qualifiers, features, self.cim_namespace, where)

    def class_feature(self):
        qualifiers = self.qualifier_list()
        where = self.peek().where
        type_name, reference_class = self.data_type()
        name = self.name("a property or method")
        parameters = None
        is_array = False
        if self.accept("("):
            parameters = self.parameter_list()
        else:
            is_array = self.array_mark()
        self.expect(";")
        return Feature(name, type_name, reference_class, is_array, qualifiers, parameters, where)

    def parameter_list(self):
        parameters = []
        if self.accept(")"):
            return parameters
        while True:
            parameters.append(self.parameter())
            if not self.accept(","):
                break
        self.expect(")")
        return parameters

    def parameter(self):
        qualifiers = self.qualifier_list()
        where = self.peek().where
        type_name, reference_class = self.data_type()
        name = self.name("a parameter")
        return Feature(name, type_name, reference_class, self.array_mark(), qualifiers, None, where)

    def data_type(self):
        word = self.name("a type")
        if self.accept("REF"):
            return "reference", word
        if word.lower() not in SIMPLE_TYPES:
            raise MofError(f"{self.tokens[self.next - 1].where}: '{word}' is no type")
        return word.lower(), None

    def simple_type(self):
        type_name, reference_class = self.data_type()
        if reference_class is not None:
            self.fail("expected a type that is no reference")
        return type_name

    def array_mark(self):
        if not self.accept("["):
            return False
        self.expect("]")
        return True

    def qualifier_list(self):
        qualifiers = []
        if not self.accept("["):
            return qualifiers
        while True:
            qualifiers.append(self.qualifier())
            if not self.accept(","):
                break
        self.expect("]")
        return qualifiers

    def qualifier(self):
        where = self.peek().where
        name = self.name("a qualifier")
        if self.accept("("):
            value = self.constant()
            self.expect(")")
        elif self.at("{"):
            value = self.array_initializer()
        else:
            value = True
        return Qualifier(name, value, where)

    def initializer(self):
        return self.array_initializer() if self.at("{") else self.constant()

    def array_initializer(self):
        self.expect("{")
        values = []
        if self.accept("}"):
            return values
        while True:
            values.append(self.constant())
            if not self.accept(","):
                break
        self.expect("}")
        return values

    def constant(self):
        token = self.peek()
        if token.kind == "string":
            return self.string()
        if token.kind in ("number", "char"):
            return self.take().text
        for word, value in (("TRUE", True), ("FALSE", False), ("NULL", None)):
            if self.accept(word):
                return value
        self.fail("expected a constant")

    def string(self):
        if self.peek().kind != "string":
            self.fail("expected a string")
        text = ""
        while self.peek().kind == "string":
            token = self.take()
            try:
                text += unescape(token.text)
            except ValueError as error:
                raise MofError(f"{token.where}: '\\{error}' is no escape") from error
        return text


def type_qualifiers(schema, qualifiers):
    seen = set()
    for qualifier in qualifiers:
        declared = schema.qualifier_types.get(qualifier.name.lower())
        if declared is None:
            raise MofError(f"{qualifier.where}: qualifier '{qualifier.name}' is not declared")
        if qualifier.name.lower() in seen:
            raise MofError(f"{qualifier.where}: qualifier '{qualifier.name}' is given twice")
        seen.add(qualifier.name.lower())
        qualifier.name = declared.name
        qualifier.type = declared.type
        qualifier.is_array = declared.is_array
        if declared.is_array != isinstance(qualifier.value, list):
            raise MofError(f"{qualifier.where}: qualifier '{qualifier.name}' is {'an' if declared.is_array else 'no'} array")
        if declared.type == "boolean" and not isinstance(qualifier.value, bool):
            raise MofError(f"{qualifier.where}: qualifier '{qualifier.name}' is TRUE or FALSE")


def check_class_names(schema, cim_class):
    for feature in cim_class.features:
        for item in [feature] + (feature.parameters or []):
            if item.reference_class is not None and item.reference_class.lower() not in schema.classes:
                raise MofError(f"{item.where}: class '{item.reference_class}' of reference '{item.name}' is not declared")
            embedded = item.qualifier("EmbeddedInstance")
            if embedded is not None and embedded.value.lower() not in schema.classes:
                raise MofError(f"{item.where}: embedded class '{embedded.value}' of '{item.name}' is not declared")
        values, texts = feature.qualifier("ValueMap"), feature.qualifier("Values")
        if values is not None and texts is not None and len(values.value) != len(texts.value):
            raise MofError(f"{feature.where}: ValueMap and Values of '{feature.name}' differ in length")


def inherit_qualifiers(schema, own, inherited):
    names = {qualifier.name.lower() for qualifier in own}
    return own + [q for q in inherited
                  if q.name.lower() not in names and schema.qualifier_types[q.name.lower()].is_inherited()]


def merge_feature(schema, cim_class, feature, by_name):
    above = by_name.get(feature.name.lower())
    feature.origin = cim_class
    if above is not None:
        if (above.type, above.is_array) != (feature.type, feature.is_array):
            raise MofError(f"{feature.where}: '{feature.name}' has another type in '{above.origin.name}'")
        if feature.qualifier("Override") is None:
            raise MofError(f"{feature.where}: '{feature.name}' of '{above.origin.name}' needs the qualifier Override")
        feature.qualifiers = inherit_qualifiers(schema, feature.qualifiers, above.qualifiers)
    by_name[feature.name.lower()] = feature


def resolve_class(schema, cim_class):
    inherited_properties, inherited_methods = {}, {}
    if cim_class.superclass is not None:
        inherited_properties = {p.name.lower(): p for p in cim_class.superclass.properties}
        inherited_methods = {m.name.lower(): m for m in cim_class.superclass.methods}
        cim_class.qualifiers = inherit_qualifiers(schema, cim_class.qualifiers, cim_class.superclass.qualifiers)
    own_methods = []
    for feature in cim_class.features:
        if feature.parameters is None:
            merge_feature(schema, cim_class, feature, inherited_properties)
        else:
            merge_feature(schema, cim_class, feature, inherited_methods)
            own_methods.append(feature.name.lower())
    cim_class.properties = [inherited_properties[name] for name in sorted(inherited_properties)]
    cim_class.methods = [inherited_methods[name] for name in own_methods]
    cim_class.methods += [method for name, method in inherited_methods.items() if name not in own_methods]


def resolve(schema):
    done = {}

    def visit(cim_class, below):
        if cim_class.name.lower() in done:
            return
        if cim_class.name in below:
            raise MofError(f"{cim_class.where}: class '{cim_class.name}' is its own ancestor")
        if cim_class.superclass_name is not None:
            above = schema.classes.get(cim_class.superclass_name.lower())
            if above is None:
                raise MofError(f"{cim_class.where}: superclass '{cim_class.superclass_name}' is not declared")
            visit(above, below + [cim_class.name])
            cim_class.superclass = above
        type_qualifiers(schema, cim_class.qualifiers)
        for feature in cim_class.features:
            type_qualifiers(schema, feature.qualifiers)
            for parameter in feature.parameters or []:
                type_qualifiers(schema, parameter.qualifiers)
        check_class_names(schema, cim_class)
        resolve_class(schema, cim_class)
        done[cim_class.name.lower()] = cim_class

    for cim_class in list(schema.classes.values()):
        visit(cim_class, [])
    schema.classes = done


def parse_texts(texts):
    """texts: pairs of (file name for messages, MOF text)"""
    schema = Schema()
    for file_name, text in texts:
        Parser(schema, text, file_name).specification()
    resolve(schema)
    return schema


def parse_files(file_names):
    texts = []
    for file_name in file_names:
        with open(file_name, encoding="utf-8") as file:
            texts.append((file_name, file.read()))
    return parse_texts(texts)
