// The line sink of plugins/audit-lines, in C: the same settings, answers and cases. One write for a batch.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit_sink_plugin.h"
#include "json.h"

typedef audit_sink_plugin_string_t string_t;
typedef exports_origan_codec_audit_sink_list_entry_t batch_t;
typedef exports_origan_codec_audit_sink_write_error_t failure_t;
typedef exports_origan_codec_settings_list_problem_t problems_t;

// Set by `configure`.
static struct text output = TEXT("stdout");
static bool is_wrapped;

static void add_problem(problems_t *problems, struct text path, const char *message) {
  problems->ptr = realloc(problems->ptr, (problems->len + 1) * sizeof *problems->ptr);
  exports_origan_codec_settings_problem_t *problem = &problems->ptr[problems->len++];
  audit_sink_plugin_string_dup_n(&problem->path, path.at, path.len);
  audit_sink_plugin_string_dup(&problem->message, message);
}

static void read_member(struct text key, struct json value, problems_t *problems) {
  struct text text;
  if (text_is(key, "output")) {
    if (!json_string(value, &output) || output.len == 0) {
      add_problem(problems, TEXT("/output"), "must be the name of an output");
    }
  } else if (text_is(key, "format")) {
    is_wrapped = json_string(value, &text) && text_is(text, "wrapped");
    if (!is_wrapped && !(json_string(value, &text) && text_is(text, "journal"))) {
      add_problem(problems, TEXT("/format"), "is none of \"journal\", \"wrapped\"");
    }
  } else {
    add_problem(problems, json_pointer(key), "no such setting");
  }
}

bool exports_origan_codec_settings_configure(string_t *json, problems_t *problems) {
  *problems = (problems_t){NULL, 0};
  struct json_cursor members;
  if (!json_enter_object((struct json){(const char *)json->ptr, json->len}, &members)) {
    add_problem(problems, TEXT(""), "must be an object");
    return false;
  }
  struct text key;
  struct json value;
  while (json_next_member(&members, &key, &value)) {
    read_member(key, value, problems);
  }
  audit_sink_plugin_string_free(json);
  return problems->len == 0;
}

// The record as the journal has it, or within an object that repeats what identifies it. Taken from `entry`, or allocated.
static string_t line_of(exports_origan_codec_audit_sink_entry_t *entry) {
  if (!is_wrapped) {
    string_t line = entry->line;
    entry->line = (string_t){NULL, 0};
    return line;
  }
  // Hexadecimal digits need no escape.
  static const char FORMAT[] = "{\"chain\":\"%.*s\",\"seq\":%llu,\"hash\":\"%.*s\",\"record\":%.*s}";
  size_t size = sizeof FORMAT + entry->chain.len + entry->hash.len + entry->line.len + 20;
  char *line = malloc(size);
  int len = snprintf(line, size, FORMAT, (int)entry->chain.len, (const char *)entry->chain.ptr, (unsigned long long)entry->seq,
                     (int)entry->hash.len, (const char *)entry->hash.ptr, (int)entry->line.len, (const char *)entry->line.ptr);
  return (string_t){(uint8_t *)line, (size_t)len};
}

static void tell(origan_codec_log_level_t level, const char *what, const string_t *why) {
  char text[512];
  origan_codec_log_list_attribute_t none = {NULL, 0};
  string_t message;
  snprintf(text, sizeof text, "output \"%.*s\" %s: %.*s", (int)output.len, output.at, what, why ? (int)why->len : 0,
           why ? (const char *)why->ptr : "");
  audit_sink_plugin_string_set(&message, text);
  origan_codec_log_emit(level, &message, &none);
}

static void reject(failure_t *failure, uint64_t seq, const char *why) {
  audit_sink_plugin_list_tuple2_u64_string_t *list = &failure->val.rejected;
  list->ptr = realloc(list->ptr, (list->len + 1) * sizeof *list->ptr);
  list->ptr[list->len].f0 = seq;
  audit_sink_plugin_string_dup(&list->ptr[list->len++].f1, why);
}

// The index of the line that the output will never take; -1 where the batch must come again, and the operator has been told why.
static int64_t refused_line(origan_codec_lines_write_error_t *error, size_t sent) {
  uint64_t index = 0;
  switch (error->tag) {
  case ORIGAN_CODEC_LINES_WRITE_ERROR_UNAVAILABLE:
    tell(ORIGAN_CODEC_LOG_LEVEL_WARN, "takes nothing now", &error->val.unavailable);
    return -1;
  case ORIGAN_CODEC_LINES_WRITE_ERROR_NOT_GRANTED:
    // Tried again like an output that is down: records must outlive a mistake in the configuration.
    tell(ORIGAN_CODEC_LOG_LEVEL_ERROR, "is not granted, so records wait", &error->val.not_granted);
    return -1;
  case ORIGAN_CODEC_LINES_WRITE_ERROR_TOO_LONG:
    index = error->val.too_long;
    break;
  default:
    index = error->val.malformed;
  }
  if (index >= sent) {
    tell(ORIGAN_CODEC_LOG_LEVEL_ERROR, "refuses a line that was not sent", NULL);
    return -1;
  }
  return (int64_t)index;
}

static const char *why_refused(const origan_codec_lines_write_error_t *error) {
  return error->tag == ORIGAN_CODEC_LINES_WRITE_ERROR_TOO_LONG ? "longer than the output takes" : "holds a line feed or a NUL";
}

// Writes `lines`, less those that the output refuses; false where not all of them arrived, and `failure` says what becomes of them.
static bool deliver(string_t *lines, uint64_t *seqs, size_t len, failure_t *failure) {
  string_t name = {(uint8_t *)output.at, output.len};
  *failure = (failure_t){.tag = EXPORTS_ORIGAN_CODEC_AUDIT_SINK_WRITE_ERROR_REJECTED};
  // Each turn ends the loop or takes one line out.
  while (len > 0) {
    audit_sink_plugin_list_string_t list = {lines, len};
    origan_codec_lines_write_error_t error;
    if (origan_codec_lines_write(&name, &list, &error)) {
      break;
    }
    int64_t index = refused_line(&error, len);
    if (index < 0) {
      origan_codec_lines_write_error_free(&error);
      exports_origan_codec_audit_sink_write_error_free(failure);
      *failure = (failure_t){.tag = EXPORTS_ORIGAN_CODEC_AUDIT_SINK_WRITE_ERROR_RETRY};
      return false;
    }
    reject(failure, seqs[index], why_refused(&error));
    audit_sink_plugin_string_free(&lines[index]);
    len--;
    memmove(&lines[index], &lines[index + 1], (len - (size_t)index) * sizeof *lines);
    memmove(&seqs[index], &seqs[index + 1], (len - (size_t)index) * sizeof *seqs);
    lines[len] = (string_t){NULL, 0};
  }
  return failure->val.rejected.len == 0;
}

bool exports_origan_codec_audit_sink_write(batch_t *batch, failure_t *failure) {
  size_t len = batch->len;
  string_t *lines = calloc(len, sizeof *lines);
  uint64_t *seqs = calloc(len, sizeof *seqs);
  for (size_t i = 0; i < len; i++) {
    seqs[i] = batch->ptr[i].seq;
    lines[i] = line_of(&batch->ptr[i]);
  }
  bool is_done = deliver(lines, seqs, len, failure);
  // This instance is kept: what is not given back, it has for ever.
  for (size_t i = 0; i < len; i++) {
    audit_sink_plugin_string_free(&lines[i]);
  }
  free(lines);
  free(seqs);
  exports_origan_codec_audit_sink_list_entry_free(batch);
  return is_done;
}
