// SPDX-License-Identifier: Apache-2.0
// The words for each refusal of reader.ts, so that a console line can say `policyd: FAIL recipe line 12
// duplicate_name`. Literals only: nothing is allocated.
import {
  TOML_E_TOO_LONG, TOML_E_CHARACTER, TOML_E_TABLE, TOML_E_KEY, TOML_E_EQUALS, TOML_E_VALUE, TOML_E_INTEGER,
  TOML_E_INTEGER_RANGE, TOML_E_STRING, TOML_E_ARRAY, TOML_E_ARRAY_MIXED, TOML_E_ITEMS, TOML_E_REST, TOML_E_DUPLICATE,
  TOML_E_NAMES,
} from "./reader";

/** A stable one-word name for a TOML_E_* code; "none" for 0. */
export function tomlReason(code: u32): string {
  switch (code) {
    case TOML_E_TOO_LONG: return "file_too_long";
    case TOML_E_CHARACTER: return "bad_character";
    case TOML_E_TABLE: return "bad_table";
    case TOML_E_KEY: return "bad_key";
    case TOML_E_EQUALS: return "equals_missing";
    case TOML_E_VALUE: return "bad_value";
    case TOML_E_INTEGER: return "bad_integer";
    case TOML_E_INTEGER_RANGE: return "integer_range";
    case TOML_E_STRING: return "bad_string";
    case TOML_E_ARRAY: return "bad_array";
    case TOML_E_ARRAY_MIXED: return "mixed_array";
    case TOML_E_ITEMS: return "too_many_items";
    case TOML_E_REST: return "rest_of_line";
    case TOML_E_DUPLICATE: return "duplicate_name";
    case TOML_E_NAMES: return "too_many_names";
    default: return "none";
  }
}
