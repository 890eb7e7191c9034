// Passkeys as this browser's authenticators make and use them. What is asked and answered is the API's.

import { api, ok, type Schemas } from './client';
import { Problem } from './problem';

type Answer = Schemas['PasskeyAnswer'];

/** Can this browser do it here? Not on plain http, but on the machine's own address. */
export function passkeysWork(): boolean {
  return (
    typeof PublicKeyCredential !== 'undefined' &&
    'parseCreationOptionsFromJSON' in PublicKeyCredential &&
    'toJSON' in PublicKeyCredential.prototype
  );
}

/** An authenticator that was told no, or had nothing to answer with, is no fault of anybody's. */
async function answered(asked: Promise<Credential | null>): Promise<Answer['credential']> {
  try {
    const credential = await asked;
    if (credential instanceof PublicKeyCredential)
      return credential.toJSON() as unknown as Answer['credential'];
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    if (error.name === 'InvalidStateError') throw new Problem(0, 'passkey_known', error.message);
    throw new Problem(0, 'passkey_cancelled', error.message);
  }
  throw new Problem(0, 'passkey_cancelled', '');
}

/** Asks for a passkey of this gateway to sign: for a login or a confirmation. */
export async function signedByPasskey(): Promise<Answer> {
  const { ceremony, options } = await ok(api.POST('/api/user/login/passkey/options'));
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options as never);
  return { ceremony, credential: await answered(navigator.credentials.get({ publicKey })) };
}

/** Makes a new passkey for whoever is logged in. */
export async function newPasskey(): Promise<Answer> {
  const { ceremony, options } = await ok(api.POST('/api/user/passkeys/options'));
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options as never);
  return { ceremony, credential: await answered(navigator.credentials.create({ publicKey })) };
}
