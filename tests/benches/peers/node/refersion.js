// The call that both programs make, over connections that are kept.
'use strict';

const { Pool } = require('undici');

const KEYS = { 'refersion-public-key': 'pub_1', 'refersion-secret-key': 'sec_1' };

module.exports = (url, connections) => {
  const { origin, pathname } = new URL(url);
  const pool = new Pool(origin, { connections });
  return async ({ traits }) => {
    const affiliate = {
      email: traits.email,
      first_name: traits.firstName,
      last_name: traits.lastName,
      phone: traits.phone,
    };
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: `${pathname}/affiliate/new`,
      headers: { ...KEYS, 'content-type': 'application/json' },
      body: JSON.stringify(affiliate),
    });
    const answer = await body.json();
    if (statusCode !== 200) throw new Error(`refused with ${statusCode}`);
    return answer;
  };
};
