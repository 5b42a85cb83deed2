#include "json.h"

#include <stdlib.h>
#include <string.h>

bool texts_are_same(struct text one, struct text other) {
  return one.len == other.len && memcmp(one.at, other.at, one.len) == 0;
}

bool text_is(struct text text, const char *word) {
  return texts_are_same(text, (struct text){word, strlen(word)});
}

static void skip_space(struct json_cursor *cursor) {
  while (cursor->at < cursor->end && strchr(" \t\r\n,:", *cursor->at) != NULL) {
    cursor->at++;
  }
}

// Past the string that begins here.
static void skip_string(struct json_cursor *cursor) {
  cursor->at++;
  while (cursor->at < cursor->end && *cursor->at != '"') {
    cursor->at += *cursor->at == '\\' ? 2 : 1;
  }
  cursor->at++;
}

// Past the value that begins here, whatever it holds.
static struct json take_value(struct json_cursor *cursor) {
  const char *start = cursor->at;
  size_t depth = 0;
  do {
    switch (*cursor->at) {
    case '"':
      skip_string(cursor);
      break;
    case '{':
    case '[':
      depth++;
      cursor->at++;
      break;
    case '}':
    case ']':
      depth--;
      cursor->at++;
      break;
    case ',':
    case ':':
      cursor->at++;
      break;
    default:
      // A number, a word, or space between others.
      do {
        cursor->at++;
      } while (cursor->at < cursor->end && strchr("\",:{}[]", *cursor->at) == NULL);
    }
  } while (depth > 0 && cursor->at < cursor->end);
  if (cursor->at > cursor->end) {
    cursor->at = cursor->end;
  }
  return (struct json){start, (size_t)(cursor->at - start)};
}

static bool enter(struct json value, char open, struct json_cursor *cursor) {
  *cursor = (struct json_cursor){value.at, value.at + value.len};
  skip_space(cursor);
  if (cursor->at == cursor->end || *cursor->at != open) {
    return false;
  }
  cursor->at++;
  return true;
}

bool json_enter_object(struct json value, struct json_cursor *members) {
  return enter(value, '{', members);
}

bool json_enter_array(struct json value, struct json_cursor *items) {
  return enter(value, '[', items);
}

bool json_next_item(struct json_cursor *items, struct json *value) {
  skip_space(items);
  if (items->at >= items->end || *items->at == ']' || *items->at == '}') {
    return false;
  }
  *value = take_value(items);
  return true;
}

bool json_next_member(struct json_cursor *members, struct text *key, struct json *value) {
  struct json name;
  return json_next_item(members, &name) && json_string(name, key) && json_next_item(members, value);
}

static uint32_t hex4(const char *digits) {
  uint32_t code = 0;
  for (int i = 0; i < 4; i++) {
    char digit = digits[i];
    code = code * 16 + (uint32_t)(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
  }
  return code;
}

static char *put_utf8(char *out, uint32_t code) {
  if (code < 0x80) {
    *out++ = (char)code;
    return out;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};
  *out++ = (char)(first[more] | (code >> (6 * more)));
  while (more-- > 0) {
    *out++ = (char)(0x80 | ((code >> (6 * more)) & 0x3f));
  }
  return out;
}

bool json_string(struct json value, struct text *text) {
  if (value.len < 2 || value.at[0] != '"' || value.at[value.len - 1] != '"') {
    return false;
  }
  const char *at = value.at + 1, *end = value.at + value.len - 1;
  // No escape is shorter than what it stands for.
  char *start = malloc(value.len), *out = start;
  while (at < end) {
    if (*at != '\\') {
      *out++ = *at++;
      continue;
    }
    char escape = at[1];
    at += 2;
    if (escape != 'u') {
      static const char names[] = "bfnrt", bytes[] = "\b\f\n\r\t";
      const char *named = strchr(names, escape);
      *out++ = named != NULL ? bytes[named - names] : escape;
      continue;
    }
    uint32_t code = hex4(at);
    at += 4;
    if (code >= 0xd800 && code < 0xdc00 && end - at >= 6) {
      code = 0x10000 + ((code - 0xd800) << 10) + (hex4(at + 2) - 0xdc00);
      at += 6;
    }
    out = put_utf8(out, code);
  }
  *text = (struct text){start, (size_t)(out - start)};
  return true;
}

struct text json_pointer(struct text key) {
  char *start = malloc(1 + 2 * key.len), *out = start;
  *out++ = '/';
  for (size_t i = 0; i < key.len; i++) {
    char byte = key.at[i];
    if (byte == '~' || byte == '/') {
      *out++ = '~';
      byte = byte == '~' ? '0' : '1';
    }
    *out++ = byte;
  }
  return (struct text){start, (size_t)(out - start)};
}
