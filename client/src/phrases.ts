// What the element says, in English and French. Numbers come formatted.

import type { Refusal } from "./connection.ts";
import type { PhotoStatus } from "./wire.ts";

/** One language: `n` is a number as text, `one` whether its word is in the singular. */
export type Phrases = {
  readonly label: string;
  readonly asking: string;
  readonly empty: string;
  readonly waiting: (n: string, one: boolean) => string;
  readonly done: (completed: string, total: string, one: boolean) => string;
  /** Whose number decides on `one` there: that of the photos done, or of all. */
  readonly countsDone: boolean;
  readonly failed: (n: string, one: boolean) => string;
  readonly ended: {
    readonly completed: (n: string, one: boolean) => string;
    readonly partial: (completed: string, failed: string, one: boolean, oneFailed: boolean) => string;
    readonly failed: (n: string, one: boolean) => string;
    readonly cancelled: (completed: string, total: string, one: boolean) => string;
    readonly empty: string;
  };
  readonly underAMinute: string;
  readonly about: (n: string, unit: Unit) => string;
  readonly between: (low: string, high: string, unit: Unit) => string;
  readonly atMost: (n: string, unit: Unit) => string;
  readonly notes: Record<"reconnecting" | "busy" | "behind" | "reading" | "stalled", string>;
  readonly refusals: Record<Refusal, string>;
  readonly photo: Record<PhotoStatus | "DROPPED", string>;
  readonly failures: (n: string, one: boolean) => string;
  readonly more: (n: string) => string;
  readonly noReason: string;
  readonly lost: string;
  readonly back: string;
};

export type Unit = "min" | "h";

const english: Phrases = {
  label: "Progress of the batch",
  asking: "Loading…",
  empty: "No photos yet",
  waiting: (n, one) => `${n} ${one ? "photo" : "photos"} waiting`,
  done: (completed, total, one) => `${completed} of ${total} ${one ? "photo" : "photos"} done`,
  countsDone: false,
  failed: (n) => `${n} failed`,
  ended: {
    completed: (n, one) => (one ? "The photo is done" : `All ${n} photos done`),
    partial: (completed, failed) => `Ended: ${completed} done, ${failed} failed`,
    failed: (n, one) => (one ? "The photo failed" : `All ${n} photos failed`),
    cancelled: (completed, total) => `Cancelled: ${completed} of ${total} done`,
    empty: "Ended without photos",
  },
  underAMinute: "less than a minute left",
  about: (n, unit) => `about ${n}\u00a0${unit} left`,
  between: (low, high, unit) => `${low} to ${high}\u00a0${unit} left`,
  atMost: (n, unit) => `up to ${n}\u00a0${unit} left`,
  notes: {
    reconnecting: "Connection lost. What you see may be old.",
    busy: "The server is busy. What you see may be old.",
    behind: "The server has lost its source. What you see may be old.",
    reading: "Updated every few seconds.",
    stalled: "Nothing has changed for a while.",
  },
  refusals: {
    missing: "There is no such batch.",
    gone: "This batch was deleted.",
    denied: "You may not see this batch.",
    expired: "Your access has expired. Sign in again.",
  },
  photo: { QUEUED: "Waiting", PROCESSING: "In progress", COMPLETED: "Done", FAILED: "Failed", DROPPED: "Not done" },
  failures: (n, one) => `${n} ${one ? "photo" : "photos"} failed`,
  more: (n) => `and ${n} more`,
  noReason: "no reason was given",
  lost: "Connection lost.",
  back: "Connected again.",
};

const french: Phrases = {
  label: "Progression du lot",
  asking: "Chargement…",
  empty: "Pas encore de photos",
  waiting: (n, one) => `${n} ${one ? "photo" : "photos"} en attente`,
  done: (completed, total, one) => `${completed} ${one ? "photo terminée" : "photos terminées"} sur ${total}`,
  countsDone: true,
  failed: (n, one) => `${n} ${one ? "échec" : "échecs"}`,
  ended: {
    completed: (n, one) => (one ? "La photo est terminée" : `Les ${n} photos sont terminées`),
    partial: (completed, failed, one, oneFailed) =>
      `Fini\u00a0: ${completed} ${one ? "terminée" : "terminées"}, ${failed} ${oneFailed ? "échec" : "échecs"}`,
    failed: (n, one) => (one ? "La photo a échoué" : `Les ${n} photos ont échoué`),
    cancelled: (completed, total, one) => `Annulé\u00a0: ${completed} ${one ? "terminée" : "terminées"} sur ${total}`,
    empty: "Fini, sans photos",
  },
  underAMinute: "il reste moins d’une minute",
  about: (n, unit) => `il reste environ ${n}\u00a0${unit}`,
  between: (low, high, unit) => `il reste ${low} à ${high}\u00a0${unit}`,
  atMost: (n, unit) => `il reste au plus ${n}\u00a0${unit}`,
  notes: {
    reconnecting: "Connexion perdue. Ce qui est affiché peut être ancien.",
    busy: "Le serveur est occupé. Ce qui est affiché peut être ancien.",
    behind: "Le serveur a perdu sa source. Ce qui est affiché peut être ancien.",
    reading: "Mis à jour toutes les quelques secondes.",
    stalled: "Rien n’a changé depuis un moment.",
  },
  refusals: {
    missing: "Ce lot n’existe pas.",
    gone: "Ce lot a été supprimé.",
    denied: "Vous n’avez pas accès à ce lot.",
    expired: "Votre accès a expiré. Reconnectez-vous.",
  },
  photo: { QUEUED: "En attente", PROCESSING: "En cours", COMPLETED: "Terminée", FAILED: "Échec", DROPPED: "Non traitée" },
  failures: (n, one) => `${n} ${one ? "photo en échec" : "photos en échec"}`,
  more: (n) => `et ${n} autres`,
  noReason: "sans motif",
  lost: "Connexion perdue.",
  back: "Connexion rétablie.",
};

export type Language = {
  readonly phrases: Phrases;
  readonly number: (value: number) => string;
  readonly percent: (value: number) => string;
  readonly isOne: (value: number) => boolean;
};

/** French for `fr` and its regions, English for all else. */
export function languageOf(tag: string): Language {
  const isFrench = /^fr\b/i.test(tag);
  const locale = isFrench ? "fr" : "en";
  const plural = new Intl.PluralRules(locale);
  const percent = new Intl.NumberFormat(locale, { style: "percent" });
  const number = new Intl.NumberFormat(locale);
  return {
    phrases: isFrench ? french : english,
    number: (value) => number.format(value),
    percent: (value) => percent.format(value / 100),
    isOne: (value) => plural.select(value) === "one",
  };
}
