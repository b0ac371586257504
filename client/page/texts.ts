// What the page says beside the package's phrases, in English and French. Numbers come formatted; `one` says whether the word
// is in the singular.

import type { Refusal } from "../src/connection.ts";

export type Texts = {
  /** For dates and times. */
  readonly locale: string;
  /** What index.html says in English, by its `data-text` and `data-label`. */
  readonly page: Readonly<Record<string, string>>;
  readonly photos: (n: string, one: boolean) => string;
  readonly analysed: string;
  readonly headline: string;
  readonly batch: string;
  readonly choose: string;
  readonly waiting: string;
  readonly dropped: string;
  readonly runAgain: string;
  readonly runRest: string;
  readonly project: (name: string) => string;
  readonly tile: Record<"waiting" | "sent" | "unsent", string>;
  readonly uploading: (percent: string) => string;
  readonly again: string;
  readonly againFor: (name: string) => string;
  readonly endedBefore: string;
  readonly sharpness: (n: string) => string;
  /** The server's reasons, where they are not said in its own English. */
  readonly reasons: Readonly<Record<string, string>>;
  readonly reaching: string;
  readonly lastSeen: (words: string) => string;
  readonly unknown: string;
  readonly ended: string;
  readonly endedOn: (date: string) => string;
  readonly watching: (photos: string, bar: string) => string;
  readonly pill: Record<"connecting" | "live" | "behind" | "reading" | "stalled" | "ended" | "closed", string>;
  readonly reconnecting: (since: string) => string;
  readonly busy: (since: string) => string;
  readonly notice: Record<"busy" | "behind" | "reading" | "stalled" | "back", string>;
  readonly lost: (from: string, next: string) => string;
  readonly offline: (from: string) => string;
  readonly tryingNow: string;
  readonly tryingIn: (span: string) => string;
  readonly uploaded: (n: string, one: boolean) => string;
  readonly uploadedOf: (sent: string, total: string) => string;
  readonly uploadingOf: (nth: string, total: string, percent: string) => string;
  readonly missing: (n: string) => string;
  readonly took: (span: string) => string;
  readonly advice: Record<"completed" | "partial" | "failed" | "cancelled", string>;
  readonly refusals: Record<Refusal, string>;
  readonly more: (n: string) => string;
  readonly problems: Record<"offline" | "denied" | "tooLarge" | "busy" | "fault" | "unclear" | "ended", string>;
  readonly refused: (status: number) => string;
  readonly left: Record<"notPhoto" | "heic" | "empty" | "tooLarge" | "name" | "unreadable", string>;
  readonly leftOut: (n: string, one: boolean) => string;
  readonly tooMany: (n: string, most: string) => string;
  readonly starting: (photos: string) => string;
  readonly notStarted: (why: string) => string;
  readonly couldNot: Record<"retry" | "cancel" | "more", (why: string) => string>;
  readonly batches: (n: string, open: string, one: boolean, anyOpen: boolean) => string;
  readonly listLost: (why: string, next: string) => string;
  readonly listRefused: (why: string) => string;
  readonly listOld: (why: string, from: string, next: string) => string;
  readonly noProject: string;
  readonly today: (time: string) => string;
  readonly yesterday: (time: string) => string;
  readonly copied: string;
  readonly notCopied: (address: string) => string;
  readonly hours: (hours: string, minutes: string) => string;
};

const english: Texts = {
  locale: "en-GB",
  page: {},
  photos: (n, one) => `${n} ${one ? "photo" : "photos"}`,
  analysed: "Photos analysed",
  headline: "Put your photos in.\nWatch them develop.",
  batch: "Batch",
  choose: "Choose photos",
  waiting: "Waiting",
  dropped: "Not done",
  runAgain: "Try the failed ones again",
  runRest: "Run the rest",
  project: (name) => `Project ${name}`,
  tile: { waiting: "Waiting to upload", sent: "Uploaded", unsent: "Not uploaded" },
  uploading: (percent) => `Uploading ${percent}`,
  again: "Try again",
  againFor: (name) => `Try again to upload ${name}`,
  endedBefore: "the batch ended before",
  sharpness: (n) => `sharpness ${n}`,
  reasons: {},
  reaching: "Trying to reach the server",
  lastSeen: (words) => `Last seen: ${words}`,
  unknown: "not known yet",
  ended: "Ended",
  endedOn: (date) => `Ended on ${date}`,
  watching: (photos, bar) => `Watching a batch of ${photos}, ${bar}.`,
  pill: {
    connecting: "Connecting", live: "Live", behind: "Behind", reading: "Every few seconds", stalled: "Stalled", ended: "Ended", closed: "Closed",
  },
  reconnecting: (since) => `Reconnecting · ${since}`,
  busy: (since) => `Server busy · ${since}`,
  notice: {
    busy: "The server is busy. What you see may be old; this page tries again by itself.",
    behind: "The server has lost touch with its source. What you see may be old; it is catching up.",
    reading: "Live updates do not get through to this page. It asks every few seconds instead.",
    stalled: "Nothing has changed for a while. The connection is fine; the work seems to stand still.",
    back: "Connected again. What you see is live.",
  },
  lost: (from, next) => `Connection lost; ${next}. What you see is from ${from}.`,
  offline: (from) => `You are offline. What you see is from ${from}; it goes on by itself once you are back.`,
  tryingNow: "trying again now",
  tryingIn: (span) => `trying again in ${span}`,
  uploaded: (n, one) => (one ? "Uploaded" : `All ${n} uploaded`),
  uploadedOf: (sent, total) => `${sent} of ${total} uploaded`,
  uploadingOf: (nth, total, percent) => `Uploading ${nth} of ${total} · ${percent}`,
  missing: (n) => `${n} did not get through`,
  took: (span) => `It took ${span}.`,
  advice: {
    completed: "Nothing is left to do; this address keeps showing the result.",
    partial: "The others are done. What failed can be tried again, or sent anew as a better file.",
    failed: "None of the files could be analysed. Try again, or check what was chosen.",
    cancelled: "What was done before is kept below; the rest can still be run.",
  },
  refusals: {
    missing: "It may have been deleted, belong to someone else, or the address may be incomplete.",
    gone: "Its photos are no longer on the server.",
    denied: "Sign in with the account it belongs to, then reload this page.",
    expired: "Sign in again and reload this page. The batch goes on without you.",
  },
  more: (n) => `and ${n} more`,
  problems: {
    offline: "no connection to the server",
    denied: "you are not signed in, or may not do this",
    tooLarge: "the file is too large",
    busy: "the server is busy",
    fault: "the server had a problem",
    unclear: "the server's answer could not be understood",
    ended: "the batch had ended",
  },
  refused: (status) => `the server refused it (${status})`,
  left: {
    notPhoto: "is no photo this page takes (JPEG, PNG, WebP)",
    heic: "is HEIC, which can't be read yet: export it as JPEG",
    empty: "is empty",
    tooLarge: "is larger than 64 MiB",
    name: "has a name that is too long: shorten it",
    unreadable: "could not be read from this device",
  },
  leftOut: (n, one) => (one ? "1 file was left out" : `${n} files were left out`),
  tooMany: (n, most) => `${n} photos are more than one batch takes (${most}). Nothing was uploaded; choose fewer.`,
  starting: (photos) => `Starting a batch of ${photos}`,
  notStarted: (why) => `The batch could not be started: ${why}. Nothing was uploaded; choose the photos again to retry.`,
  couldNot: {
    retry: (why) => `The photos could not be tried again: ${why}.`,
    cancel: (why) => `The batch could not be cancelled: ${why}.`,
    more: (why) => `More batches could not be shown: ${why}.`,
  },
  batches: (n, open, one, anyOpen) => `${n} ${one ? "batch" : "batches"}${anyOpen ? `, ${open} in progress` : ""}`,
  listLost: (why, next) => `The batches can't be shown: ${why}. This page is ${next}.`,
  listRefused: (why) => `The batches can't be shown: ${why}.`,
  listOld: (why, from, next) => `Connection lost: ${why}; ${next}. What you see is from ${from}.`,
  noProject: "the address names no project",
  today: (time) => `Today, ${time}`,
  yesterday: (time) => `Yesterday, ${time}`,
  copied: "Address copied.",
  notCopied: (address) => `Copying is not allowed here. The address is ${address}`,
  hours: (hours, minutes) => `${hours} h ${minutes} min`,
};

const french: Texts = {
  locale: "fr",
  page: {
    home: "Batchcast, page d’accueil",
    pages: "Pages",
    all: "Tous les lots",
    lead: "Chaque photo est envoyée, analysée et montrée ici dès qu’elle est prête, sur tous les écrans où le lot est ouvert.",
    choose: "Choisir des photos",
    or: "ou déposez, ou collez, des photos ou un dossier n’importe où sur cette page",
    hint: "JPEG, PNG ou WebP, jusqu’à 64 Mio chacune. L’envoi commence aussitôt.",
    drop: "Déposez pour envoyer un nouveau lot",
    batches: "Lots",
    empty: "Pas encore de lots. Les photos que vous envoyez apparaissent ici, le lot le plus récent d’abord.",
    loading: "Chargement des lots…",
    more: "Plus de lots",
    copy: "Copier le lien",
    analysed: "Photos analysées",
    done: "Terminées",
    processing: "En cours",
    failed: "En échec",
    upload: "Envoi",
    retryUnsent: "Renvoyer celles-là",
    cancel: "Annuler le lot",
    dismiss: "Fermer",
    retry: "Relancer les échecs",
    anew: "Envoyer d’autres photos",
    photos: "Photos",
    morePhotos: "Plus de photos",
    cancelTitle: "Annuler ce lot ?",
    cancelWords: "Les photos déjà terminées sont gardées. Les autres ne seront pas analysées, et le lot n’en prend plus.",
    keep: "Continuer",
    cancelYes: "Annuler le lot",
  },
  photos: (n, one) => `${n} ${one ? "photo" : "photos"}`,
  analysed: "Photos analysées",
  headline: "Déposez vos photos.\nRegardez-les se révéler.",
  batch: "Lot",
  choose: "Choisir des photos",
  waiting: "En attente",
  dropped: "Non traitées",
  runAgain: "Relancer les échecs",
  runRest: "Lancer le reste",
  project: (name) => `Projet ${name}`,
  tile: { waiting: "Pas encore envoyée", sent: "Envoyée", unsent: "Non envoyée" },
  uploading: (percent) => `Envoi ${percent}`,
  again: "Renvoyer",
  againFor: (name) => `Renvoyer ${name}`,
  endedBefore: "le lot a fini avant",
  sharpness: (n) => `netteté ${n}`,
  reasons: {
    "not received": "non reçue",
    "not an image we can read (JPEG, PNG, WebP)": "pas une image lisible ici (JPEG, PNG, WebP)",
    "the image is damaged: it can't be decoded": "l’image est abîmée et ne se décode pas",
    "given up after 3 interrupted attempts": "abandonnée après 3 essais interrompus",
  },
  reaching: "Recherche du serveur",
  lastSeen: (words) => `Dernier état connu\u00a0: ${words}`,
  unknown: "pas encore connu",
  ended: "Fini",
  endedOn: (date) => `Fini le ${date}`,
  watching: (photos, bar) => `Suivi d’un lot de ${photos}, ${bar}.`,
  pill: {
    connecting: "Connexion", live: "En direct", behind: "En retard", reading: "Par intervalles", stalled: "À l’arrêt", ended: "Fini", closed: "Fermé",
  },
  reconnecting: (since) => `Reconnexion · ${since}`,
  busy: (since) => `Serveur occupé · ${since}`,
  notice: {
    busy: "Le serveur est occupé. Ce qui est affiché peut être ancien\u00a0; la page réessaie d’elle-même.",
    behind: "Le serveur a perdu sa source. Ce qui est affiché peut être ancien\u00a0; il se remet à jour.",
    reading: "Le direct n’arrive pas jusqu’à cette page. Elle demande à la place toutes les quelques secondes.",
    stalled: "Rien n’a changé depuis un moment. La connexion est bonne\u00a0; le travail semble arrêté.",
    back: "Connexion rétablie. Ce qui est affiché est en direct.",
  },
  lost: (from, next) => `Connexion perdue\u00a0; ${next}. Ce qui est affiché date de ${from}.`,
  offline: (from) => `Vous êtes hors ligne. Ce qui est affiché date de ${from}\u00a0; la suite vient d’elle-même à votre retour.`,
  tryingNow: "nouvel essai en cours",
  tryingIn: (span) => `nouvel essai dans ${span}`,
  uploaded: (n, one) => (one ? "Envoyée" : `Les ${n} photos sont envoyées`),
  uploadedOf: (sent, total) => `${sent} envoyées sur ${total}`,
  uploadingOf: (nth, total, percent) => `Envoi de la ${nth}e sur ${total} · ${percent}`,
  missing: (n) => `${n} non passées`,
  took: (span) => `Durée\u00a0: ${span}.`,
  advice: {
    completed: "Il ne reste rien à faire\u00a0; cette adresse garde le résultat.",
    partial: "Les autres sont terminées. Les échecs peuvent être relancés, ou remplacés par un meilleur fichier.",
    failed: "Aucun fichier n’a pu être analysé. Relancez, ou vérifiez ce qui a été choisi.",
    cancelled: "Ce qui était terminé est gardé ci-dessous\u00a0; le reste peut encore être lancé.",
  },
  refusals: {
    missing: "Il a pu être supprimé, être à quelqu’un d’autre, ou l’adresse est incomplète.",
    gone: "Ses photos ne sont plus sur le serveur.",
    denied: "Connectez-vous avec le compte auquel il appartient, puis rechargez cette page.",
    expired: "Reconnectez-vous et rechargez cette page. Le lot continue sans vous.",
  },
  more: (n) => `et ${n} autres`,
  problems: {
    offline: "pas de connexion au serveur",
    denied: "vous n’êtes pas connecté, ou n’en avez pas le droit",
    tooLarge: "le fichier est trop volumineux",
    busy: "le serveur est occupé",
    fault: "le serveur a eu un problème",
    unclear: "la réponse du serveur n’est pas lisible",
    ended: "le lot avait fini",
  },
  refused: (status) => `le serveur a refusé (${status})`,
  left: {
    notPhoto: "n’est pas une photo acceptée ici (JPEG, PNG, WebP)",
    heic: "est en HEIC, pas encore lisible\u00a0: exportez en JPEG",
    empty: "est vide",
    tooLarge: "dépasse 64 Mio",
    name: "a un nom trop long\u00a0: raccourcissez-le",
    unreadable: "n’a pas pu être lu sur cet appareil",
  },
  leftOut: (n, one) => (one ? "1 fichier a été écarté" : `${n} fichiers ont été écartés`),
  tooMany: (n, most) => `${n} photos, c’est plus qu’un lot n’en prend (${most}). Rien n’a été envoyé\u00a0; choisissez-en moins.`,
  starting: (photos) => `Création d’un lot de ${photos}`,
  notStarted: (why) => `Le lot n’a pas pu être créé\u00a0: ${why}. Rien n’a été envoyé\u00a0; choisissez à nouveau les photos.`,
  couldNot: {
    retry: (why) => `La relance a échoué\u00a0: ${why}.`,
    cancel: (why) => `L’annulation a échoué\u00a0: ${why}.`,
    more: (why) => `La suite des lots ne peut pas être montrée\u00a0: ${why}.`,
  },
  batches: (n, open, one, anyOpen) => `${n} ${one ? "lot" : "lots"}${anyOpen ? `, dont ${open} en cours` : ""}`,
  listLost: (why, next) => `Les lots ne peuvent pas être montrés\u00a0: ${why}\u00a0; ${next}.`,
  listRefused: (why) => `Les lots ne peuvent pas être montrés\u00a0: ${why}.`,
  listOld: (why, from, next) => `Connexion perdue\u00a0: ${why}\u00a0; ${next}. Ce qui est affiché date de ${from}.`,
  noProject: "l’adresse ne nomme aucun projet",
  today: (time) => `Aujourd’hui, ${time}`,
  yesterday: (time) => `Hier, ${time}`,
  copied: "Adresse copiée.",
  notCopied: (address) => `La copie n’est pas permise ici. L’adresse est ${address}`,
  hours: (hours, minutes) => `${hours} h ${minutes} min`,
};

/** French for `fr` and its regions, English for all else: as the package's phrases. */
export function textsOf(tag: string): Texts {
  return /^fr\b/i.test(tag) ? french : english;
}

/** The first of a reader's languages that the page speaks. */
export function languageFor(preferred: readonly string[]): "en" | "fr" {
  const spoken = preferred.find((tag) => /^(en|fr)\b/i.test(tag));
  return spoken && /^fr/i.test(spoken) ? "fr" : "en";
}
