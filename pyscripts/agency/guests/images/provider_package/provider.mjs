// The OpenID provider of one run: one client (the homeserver), one account, nothing kept.
//
// The protocol is oidc-provider's. Ours are the two pages that it leaves to its user: the log-in,
// which checks the password, and the consent. Listens on loopback alone.
import { createHash, generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

import Provider, { errors } from 'oidc-provider';

const MAX_BODY = 4096;
const PAGE = /^\/interaction\/[\w-]{1,64}(\/login|\/consent)?$/;

// {issuer, port, client: {id, secret, redirectUri}, account: {name, displayName, password}}
const settings = JSON.parse(readFileSync(join(process.env.CREDENTIALS_DIRECTORY, 'provider.json')));
const { client, account } = settings;

const claims = () => ({
  sub: account.name,
  nickname: account.name,
  name: account.displayName,
});

const signingKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

const provider = new Provider(settings.issuer, {
  clients: [
    {
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: [client.redirectUri],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    },
  ],
  claims: { openid: ['sub'], profile: ['nickname', 'name'], email: ['email'] },
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: false },
  },
  findAccount: (_, id) => (id === account.name ? { accountId: id, claims } : undefined),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  jwks: {
    keys: [{ ...signingKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'run' }],
  },
  pkce: { required: () => true }, // by itself it asks confidential clients for none
  responseTypes: ['code'],
  ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 600, IdToken: 300, Interaction: 600, Session: 600 },
});

const digest = (text) => createHash('sha256').update(text).digest();
const isRight = (form) =>
  timingSafeEqual(digest(form.get('password') ?? ''), digest(account.password)) &&
  form.get('username') === account.name;

function answer(res, status, body) {
  res.writeHead(status, {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    'Content-Type': 'text/html; charset=utf-8',
  });
  res.end(`<!DOCTYPE html><html lang="en"><title>${body.title}</title><h1>${body.title}</h1>${body.text}</html>`);
}

const loginPage = (uid) => ({
  title: 'Log in',
  text: `<form method="post" action="/interaction/${uid}/login">
<input name="username" autocomplete="username"><input name="password" type="password">
<button>Log in</button></form>`,
});

const consentPage = (uid) => ({
  title: 'Allow',
  text: `<form method="post" action="/interaction/${uid}/consent"><button>Allow</button></form>`,
});

async function read(req) {
  let body = '';
  for await (const chunk of req) {
    body += chunk;
    if (body.length > MAX_BODY) throw new errors.InvalidRequest('the form is too large');
  }
  return new URLSearchParams(body);
}

async function login(req, res, { uid }) {
  if (!isRight(await read(req))) {
    answer(res, 401, loginPage(uid));
    return;
  }
  await provider.interactionFinished(req, res, { login: { accountId: account.name } });
}

async function consent(req, res, { params, prompt, session }) {
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}

// The cookie of the interaction must fit its address: interactionDetails refuses any other.
async function interact(req, res, action) {
  const details = await provider.interactionDetails(req, res);
  const asked = details.prompt.name;
  if (req.method === 'GET' && action === undefined) {
    answer(res, 200, asked === 'login' ? loginPage(details.uid) : consentPage(details.uid));
  } else if (req.method === 'POST' && action === `/${asked}`) {
    await (asked === 'login' ? login : consent)(req, res, details);
  } else {
    throw new errors.InvalidRequest('this is not what is asked');
  }
}

const protocol = provider.callback();
const server = createServer((req, res) => {
  const page = PAGE.exec(req.url.split('?')[0]);
  if (page === null) {
    protocol(req, res);
    return;
  }
  interact(req, res, page[1]).catch((error) => {
    const status = error.statusCode ?? 500;
    console.error(`${req.method} interaction: ${error.name}: ${status}`);
    answer(res, status, { title: 'This is not possible', text: '' });
  });
});
server.requestTimeout = 20_000;
server.maxConnections = 32;
server.listen(settings.port, '127.0.0.1');
