// oidc-provider in the place of auth.kimi.com, with a coding API beside it, for tests on the loopback interface.
//
// Settings come from the environment (see `settings`). The first line on stdout is {"oauth_host", "api_base"}; after
// that every line of JSON on stdin is a command, answered with the same line on stdout: {"ahead_s": N, "stands_at_s": null}
// moves the server's clock N seconds before the real one, and a number instead of null before that, at which it stands.
// The end of stdin ends the server, so it never outlives its parent.

import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import { jwtVerify } from 'jose';
import { errors, Provider } from 'oidc-provider';
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';

console.info = console.error; // the library's notices would mix with the answers on stdout

const number = (name, fallback) => Number(process.env[name] ?? fallback);
const settings = {
  port: number('PORT', 0),
  accessTtl_s: number('ACCESS_TTL_S', 900),
  refreshTtl_s: number('REFRESH_TTL_S', 30 * 86400),
  codeTtl_s: number('CODE_TTL_S', 1800),
  interval_s: number('INTERVAL_S', 5), // 0 = polls are never too early
  accessTokens: process.env.ACCESS_TOKENS ?? 'opaque', // or jwt
};
const CLIENT_ID = '17e5f671-d194-4dfb-9706-5516cb48c098';
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
const SCOPE = 'kimi-code';
const models = readFileSync(new URL('../models.json', import.meta.url));

let ahead_s = 0;
let stands_at_s = null;
const realNow = Date.now;
Date.now = () => (stands_at_s === null ? realNow() : Math.floor(stands_at_s * 1000)) + ahead_s * 1000;

const http = createServer();
await new Promise((resolve) => { http.listen(settings.port, '127.0.0.1', resolve); });
const host = `http://127.0.0.1:${http.address().port}`;
const apiBase = `${host}/coding/v1`;

const key = {
  ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }),
  alg: 'ES256',
  use: 'sig',
};
// A plain Map ignores the adapter's maxAge: an expired code stays `expired_token` instead of turning into
// `invalid_grant`, and nothing is lost at the thousandth entry, as in the library's own store.
const store = new Map();

const provider = new Provider(host, {
  adapter: (model) => new MemoryAdapter(model, store),
  clients: [{
    client_id: CLIENT_ID,
    client_name: 'Kimi Code CLI',
    application_type: 'native',
    token_endpoint_auth_method: 'none',
    grant_types: [DEVICE_CODE, 'refresh_token'],
    response_types: [],
    redirect_uris: [],
  }, {
    client_id: 'my-confidential-client',
    client_secret: 'my-secret',
    application_type: 'native',
    token_endpoint_auth_method: 'client_secret_post',
    grant_types: [DEVICE_CODE, 'refresh_token'],
    response_types: [],
    redirect_uris: [],
  }],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  clockTolerance: 0,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  extraParams: {
    // The client asks for no scope, and without one there is nothing to consent to.
    scope(ctx) { if (ctx.oidc.route === 'device_authorization') ctx.oidc.params.scope ??= SCOPE; },
  },
  features: {
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => apiBase,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: SCOPE,
        audience: apiBase,
        accessTokenFormat: settings.accessTokens,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
    revocation: { enabled: true },
  },
  issueRefreshToken: () => true, // by default only for `offline_access`, which this client does not ask for
  expiresWithSession: () => false,
  jwks: { keys: [key] },
  rotateRefreshToken: true,
  routes: {
    code_verification: '/device',
    device_authorization: '/api/oauth/device_authorization',
    revocation: '/api/oauth/revoke',
    token: '/api/oauth/token',
  },
  ttl: {
    AccessToken: settings.accessTtl_s,
    DeviceCode: settings.codeTtl_s,
    RefreshToken: settings.refreshTtl_s,
    Grant: 100 * 365 * 86400, // no test lives to see its end
    Interaction: 3600,
    Session: 86400,
  },
});

// The library watches no backoff of its own. RFC 8628 §3.5: each slow_down adds 5 s to the interval, for good.
const paces = new Map();
provider.on('grant.error', (ctx, error) => {
  if (!(error instanceof errors.AuthorizationPending)) return;
  const code = ctx.oidc.params.device_code;
  const backoff = paces.get(code) ?? { due_ms: 0, interval_s: settings.interval_s };
  if (Date.now() < backoff.due_ms) {
    backoff.interval_s += 5;
    const { error: name, error_description } = new errors.SlowDown();
    ctx.body = { error: name, error_description };
  }
  backoff.due_ms = Date.now() + backoff.interval_s * 1000;
  paces.set(code, backoff);
});

const publicKey = createPublicKey({ key, format: 'jwk' });
const isValid = {
  opaque: async (bearer) => Boolean(await provider.AccessToken.find(bearer)),
  jwt: (bearer) => jwtVerify(bearer, publicKey, {
    issuer: host, audience: apiBase, typ: 'at+jwt', currentDate: new Date(Date.now()),
  }).then(() => true, () => false),
}[settings.accessTokens];

provider.use(async (ctx, next) => {
  if (ctx.path !== '/coding/v1/models' || ctx.method !== 'GET') return next();
  const [scheme, bearer] = ctx.get('authorization').split(' ');
  ctx.type = 'json';
  if (scheme.toLowerCase() === 'bearer' && bearer && await isValid(bearer)) {
    ctx.body = models;
  } else {
    ctx.status = 401;
    ctx.set('WWW-Authenticate', 'Bearer error="invalid_token"');
    ctx.body = { error: { type: 'invalid_authentication_error', message: 'Invalid Authentication' } };
  }
  return undefined;
});

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const answer = provider.callback();
http.on('request', answer);
createInterface({ input: process.stdin })
  .on('line', (line) => { ({ ahead_s, stands_at_s } = JSON.parse(line)); say({ ahead_s, stands_at_s }); })
  .on('close', () => process.exit(0));
say({ oauth_host: host, api_base: apiBase });
