/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-hints.c - compat hints on the wire: docs/design/compat-hints.md section 3.
 *
 * An import is all or nothing: everything is read and checked before the first record counts. What this build or this host can not
 * honour is an error by name, or, where the client asked for it, a list.
 */
#include "hints.h"

#include "../qmp/qmp.h"
#include "handlers.h"
#include "hints-io.h"

#define LATEST_ERRORS 3 /* named in a refusal; the check lists all */

/* ---- findings ---- */

static HintFinding *finding(GPtrArray *list, HintVerdict verdict, const char *id, const char *property, const char *reason)
{
    HintFinding *f = g_new0(HintFinding, 1);

    f->verdict = verdict;
    f->id = g_strdup(id);
    f->property = g_strdup(property);
    f->reason = g_strdup(reason);
    g_ptr_array_add(list, f);
    return f;
}

static void add_losses(GPtrArray *list, const Hints *hints)
{
    for (guint i = 0; i < hints->losses->len; i++) {
        const HintLoss *loss = g_ptr_array_index(hints->losses, i);
        finding(list, loss->kind == HINT_UNKNOWN ? HINT_VERDICT_UNKNOWN : HINT_VERDICT_UNSUPPORTED, loss->id, loss->property, loss->reason);
    }
}

/* What the host can not give: by name and with both values. Such values do not count. */
static void add_host_losses(GPtrArray *list, Hints *hints, DeviceSet *set)
{
    for (guint i = 0; i < hints->records->len; i++) {
        DeviceRecord *record = g_ptr_array_index(hints->records, i);
        g_autoptr(GError) error = NULL;
        if (device_record_host_check(set, record, &error))
            continue;
        finding(list, HINT_VERDICT_HOST_CANNOT, record->id, NULL, error->message);
        device_record_drop_host(record);
    }
}

static gboolean refuse(const GPtrArray *lost, GError **error)
{
    g_autoptr(GString) text = g_string_new("compat-hints-import: ");

    for (guint i = 0; i < lost->len && i < LATEST_ERRORS; i++) {
        const HintFinding *f = g_ptr_array_index(lost, i);
        g_string_append_printf(text, "%s%s%s%s%s%s%s", i ? "; " : "", f->id ? "device '" : "", f->id ? f->id : "", f->id ? "': " : "",
                               f->property ? f->property : "", f->property ? ": " : "", f->reason);
    }
    if (lost->len > LATEST_ERRORS)
        g_string_append_printf(text, "; and %u more (compat-hints-check lists all)", lost->len - LATEST_ERRORS);
    return error_set(error, "%s", text->str);
}

/* ---- import ---- */

gboolean cmd_compat_hints_import(Machine *m, QmpRequest *req, const CompatHintsImportArgs *args, HintsImported **ret, GError **error)
{
    g_autoptr(GPtrArray) lost = REPLY_LIST(hint_finding_free);

    if (!machine_check_alive(m, "compat-hints-import", error))
        return FALSE;
    g_autoptr(Hints) hints = hints_from(req, args->from, "compat-hints-import", error);
    if (!hints)
        return FALSE;
    add_losses(lost, hints);
    add_host_losses(lost, hints, m->devices);
    if (lost->len && !(args->has_allow_degraded && args->allow_degraded))
        return refuse(lost, error);
    *ret = g_new0(HintsImported, 1);
    (*ret)->records = hints->records->len;
    (*ret)->baseline = g_strdup(hints->baseline_name);
    (*ret)->lost = g_steal_pointer(&lost);
    hints_adopt(hints, m->devices);
    return TRUE;
}

gboolean hints_import_file(Machine *m, const char *path, GError **error)
{
    QmpRequest req = { .server = m->server };
    HintsSource from = { .file = (char *)path };
    CompatHintsImportArgs args = { .from = &from };
    g_autoptr(HintsImported) imported = NULL;

    if (cmd_compat_hints_import(m, &req, &args, &imported, error))
        return TRUE;
    g_prefix_error(error, "--hints %s: ", path);
    return FALSE;
}

/* ---- check ---- */

static void check_row(GPtrArray *list, const DeviceRecord *record, const Device *dev, guint row)
{
    gboolean same = prop_bag_row_equal(record->bag, dev->bag, row);
    HintVerdict verdict = same ? HINT_VERDICT_APPLIED : dev->bag->origin[row] == ORIGIN_CONFIG ? HINT_VERDICT_OVERRIDDEN : HINT_VERDICT_LATE;
    HintFinding *f = finding(list, verdict, record->id, record->bag->table->rows[row].name, NULL);

    f->hint = handler_prop_json(record->bag, row);
    if (!same)
        f->value = handler_prop_json(dev->bag, row);
}

static void check_record(GPtrArray *list, const DeviceRecord *record, DeviceSet *set)
{
    const Device *dev = device_set_find(set, NS_DEVICE, record->id);

    if (!dev) {
        finding(list, HINT_VERDICT_IGNORED_ABSENT, record->id, NULL, "it is not plugged; kept for when it is");
        return;
    }
    if (dev->bag->table != record->bag->table) {
        g_autofree char *reason = g_strdup_printf("the hints are of a %s, and the device is a %s", record->bag->table->name, dev->bag->table->name);
        finding(list, HINT_VERDICT_IGNORED_TYPE, record->id, NULL, reason);
        return;
    }
    for (guint i = 0; i < record->bag->table->n_rows; i++) {
        if (record->state[i] == RECORD_VALUE)
            check_row(list, record, dev, i);
    }
}

gboolean cmd_compat_hints_check(Machine *m, QmpRequest *req, const CompatHintsCheckArgs *args, HintsChecked **ret, GError **error)
{
    g_autoptr(Hints) hints = hints_from(req, args->from, "compat-hints-check", error);
    g_autoptr(GPtrArray) list = REPLY_LIST(hint_finding_free);

    if (!hints)
        return FALSE;
    add_losses(list, hints);
    add_host_losses(list, hints, m->devices);
    *ret = g_new0(HintsChecked, 1);
    (*ret)->usable = list->len == 0;
    for (guint i = 0; i < hints->records->len; i++)
        check_record(list, g_ptr_array_index(hints->records, i), m->devices);
    (*ret)->findings = g_steal_pointer(&list);
    return TRUE;
}

/* ---- export ---- */

gboolean cmd_compat_hints_export(Machine *m, QmpRequest *req, const CompatHintsExportArgs *args, HintsExported **ret, GError **error)
{
    guint records;
    gsize len;
    g_autoptr(GBytes) bytes = hints_write(m->devices, &records);
    gconstpointer data = g_bytes_get_data(bytes, &len);

    if (len > HINTS_MAX_BYTES)
        return error_set(error, "compat-hints-export: they would be %zu bytes, and at most %u are read back", len, HINTS_MAX_BYTES);
    if (args->to && !hints_to(req, args->to, bytes, error))
        return FALSE;
    *ret = g_new0(HintsExported, 1);
    (*ret)->size = len;
    (*ret)->sha256 = g_compute_checksum_for_data(G_CHECKSUM_SHA256, data, len);
    (*ret)->records = records;
    (*ret)->fingerprint = handler_fingerprint(m);
    if (!args->to)
        (*ret)->data = g_base64_encode(data, len);
    return TRUE;
}

/* ---- describe ---- */

static void describe_row(JsonOut *out, const DeviceRecord *record, guint row)
{
    static const char *const states[] = { "unknown to the writer", NULL, "no value", "today's default", "today's default" };
    const PropDesc *desc = &record->bag->table->rows[row];

    if (!(desc->flags & PROP_GUEST))
        return;
    json_out_key(out, desc->name);
    if (record->state[row] == RECORD_VALUE) {
        prop_bag_write(record->bag, row, out);
        return;
    }
    json_out_begin_object(out);
    json_out_key(out, "state");
    json_out_string(out, states[record->state[row]]);
    json_out_end_object(out);
}

static void describe_record(JsonOut *out, const DeviceRecord *record)
{
    json_out_key(out, record->id);
    json_out_begin_object(out);
    json_out_key(out, "type");
    json_out_string(out, record->bag->table->name);
    json_out_key(out, "gone");
    json_out_uint(out, record->since);
    json_out_key(out, "properties");
    json_out_begin_object(out);
    for (guint i = 0; i < record->bag->table->n_rows; i++)
        describe_row(out, record, i);
    json_out_end_object(out);
    json_out_end_object(out);
}

static char *describe(const Hints *hints)
{
    g_autoptr(GString) text = g_string_new(NULL);
    JsonOut out = JSON_OUT_INIT(text);

    json_out_begin_object(&out);
    json_out_key(&out, "unstable");
    json_out_bool(&out, TRUE);
    json_out_key(&out, "producer");
    json_out_string(&out, hints->producer);
    json_out_key(&out, "baseline");
    json_out_string(&out, hints->baseline_name);
    json_out_key(&out, "devices");
    json_out_begin_object(&out);
    for (guint i = 0; i < hints->records->len; i++)
        describe_record(&out, g_ptr_array_index(hints->records, i));
    json_out_end_object(&out);
    json_out_key(&out, "unusable");
    json_out_begin_array(&out);
    for (guint i = 0; i < hints->losses->len; i++)
        json_out_string(&out, ((const HintLoss *)g_ptr_array_index(hints->losses, i))->reason);
    json_out_end_array(&out);
    json_out_end_object(&out);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

gboolean cmd_compat_hints_describe(Machine *m, QmpRequest *req, const CompatHintsDescribeArgs *args, HintsDescription **ret, GError **error)
{
    g_autoptr(GBytes) ours = args->from ? NULL : hints_write(m->devices, NULL);
    g_autoptr(Hints) hints = ours ? hints_read(ours, error) : hints_from(req, args->from, "compat-hints-describe", error);

    if (!hints)
        return FALSE;
    *ret = g_new0(HintsDescription, 1);
    (*ret)->description = describe(hints);
    return TRUE;
}

/* ---- forget and refresh ---- */

gboolean cmd_compat_hints_forget(Machine *m, QmpRequest *req, const CompatHintsForgetArgs *args, GError **error)
{
    g_autofree char *given = error_quote(args->id, -1);

    if (device_set_find(m->devices, NS_DEVICE, args->id))
        return error_set(error, "compat-hints-forget: device '%s' is plugged: it is what is known of it", given);
    return device_set_forget(m->devices, args->id) ||
           error_set_class(error, ERROR_DEVICE_NOT_FOUND, "compat-hints-forget: nothing is known of a device '%s'", given);
}

/* The rows that PROPERTIES names; all that were not configured if it is NULL. */
static gboolean chosen_rows(const PropTable *table, const Device *dev, const GPtrArray *properties, GArray *rows, GError **error)
{
    for (guint i = 0; !properties && i < table->n_rows; i++) {
        if (table->rows[i].flags & PROP_GUEST && !(dev && dev->bag->origin[i] == ORIGIN_CONFIG))
            g_array_append_val(rows, i);
    }
    for (guint i = 0; properties && i < properties->len; i++) {
        const char *name = g_ptr_array_index(properties, i);
        int row = prop_table_row(table, name);
        if (row < 0 || !(table->rows[row].flags & PROP_GUEST)) {
            g_autofree char *given = error_quote(name, -1);
            return error_set(error, "compat-hints-refresh: '%s' is no property of a %s that a guest can see", given, table->name);
        }
        g_array_append_val(rows, row);
    }
    return TRUE;
}

/* NULL: today's default is the value that it has, or what it has is no hint. */
static HintChange *refresh_row(Machine *m, const char *id, const PropBag *now, guint row)
{
    g_autoptr(PropBag) today = prop_bag_new(now->table);
    gboolean constant = device_candidate(m->devices, id, ORIGIN_DEFAULT, today, row);

    if (now->origin[row] == ORIGIN_UNSET || (constant && prop_bag_row_equal(now, today, row)))
        return NULL;
    HintChange *change = g_new0(HintChange, 1);
    change->property = g_strdup(now->table->rows[row].name);
    change->value = handler_prop_json(now, row);
    if (constant)
        change->default_ = handler_prop_json(today, row);
    return change;
}

gboolean cmd_compat_hints_refresh(Machine *m, QmpRequest *req, const CompatHintsRefreshArgs *args, HintsRefreshed **ret, GError **error)
{
    Device *dev = device_set_find(m->devices, NS_DEVICE, args->id);
    DeviceRecord *record = dev ? NULL : device_set_record(m->devices, args->id);
    const PropBag *now = dev ? dev->bag : record ? record->bag : NULL;
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(guint));

    if (!now) {
        g_autofree char *given = error_quote(args->id, -1);
        return error_set_class(error, ERROR_DEVICE_NOT_FOUND, "compat-hints-refresh: nothing is known of a device '%s'", given);
    }
    if (!chosen_rows(now->table, dev, args->properties, rows, error))
        return FALSE;
    *ret = g_new0(HintsRefreshed, 1);
    (*ret)->changes = REPLY_LIST(hint_change_free);
    for (guint i = 0; i < rows->len; i++) {
        HintChange *change = refresh_row(m, args->id, now, g_array_index(rows, guint, i));
        if (change)
            g_ptr_array_add((*ret)->changes, change);
    }
    device_set_refresh(m->devices, args->id, now->table, (const guint *)(gpointer)rows->data, rows->len);
    return TRUE;
}
