/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* features.h - CPUID feature words and the names of their bits. */
#pragma once

#include <glib.h>
#include <linux/kvm.h>

/* In the order of the feat-* property rows of x86-cpu. */
typedef enum {
    FEAT_1_EDX,
    FEAT_1_ECX,
    FEAT_6_EAX,
    FEAT_7_0_EBX,
    FEAT_7_0_ECX,
    FEAT_7_0_EDX,
    FEAT_7_1_EAX,
    FEAT_D_1_EAX,
    FEAT_KVM,
    FEAT_80000001_EDX,
    FEAT_80000001_ECX,
    FEAT_80000007_EDX,
    FEAT_80000008_EBX,
    FEAT_80000021_EAX,
    FEAT__MAX,
} FeatureWord;

typedef struct {
    const char *prop;             /* the property row */
    guint32     leaf, subleaf;
    guint       reg;              /* 0 EAX, 1 EBX, 2 ECX, 3 EDX */
    const char *const *bits;      /* 32 names; NULL: unnamed, can not be chosen */
} FeatureWordInfo;

extern const FeatureWordInfo feature_words[FEAT__MAX];

typedef struct {
    guint32 word[FEAT__MAX];
} FeatureSet;

/* Finds a feature by name; FALSE if there is none. */
gboolean feature_find(const char *name, FeatureWord *word, guint *bit);
/* Names of the bits set in SET, separated by commas; unnamed ones as "leaf.reg.bit". Caller frees. */
char    *feature_names(const FeatureSet *set);
/* What the CPUID table T says in these words. */
void     feature_set_read(FeatureSet *set, const struct kvm_cpuid2 *t);
