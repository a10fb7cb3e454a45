//! What the schema of an authentication cannot say.

use super::{
    AuthenticationMethod, BrokerAuthentication, CustomSettings, JwtSettings, Method,
    PasswordSettings, ServiceAccountTokenSettings, X509Settings,
};
use crate::{
    compare::join,
    distinguished_name, form,
    problem::Problems,
    rules::{Rules, each, each_text, headers, optional, settings},
};

impl Rules for BrokerAuthentication {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let at = format!("{at}.authenticationMethods");
        each(&self.authentication_methods, &at, problems);
    }
}

impl Rules for AuthenticationMethod {
    fn rules(&self, at: &str, problems: &mut Problems) {
        /// The rules of a method's settings, where they are.
        fn within<T: Rules>(settings: Option<&T>, at: String, problems: &mut Problems) {
            if let Some(settings) = settings {
                settings.rules(&at, problems);
            }
        }
        let (x509, tokens, custom, password, jwt) = (
            self.x509_settings.as_ref(),
            self.service_account_token_settings.as_ref(),
            self.custom_settings.as_ref(),
            self.password_settings.as_ref(),
            self.jwt_settings.as_ref(),
        );
        let method = format!("{at}.method");
        for (of, field, is_there, is_needed) in [
            (Method::X509, "x509Settings", x509.is_some(), false),
            (
                Method::ServiceAccountToken,
                "serviceAccountTokenSettings",
                tokens.is_some(),
                true,
            ),
            (Method::Custom, "customSettings", custom.is_some(), true),
            (
                Method::Password,
                "passwordSettings",
                password.is_some(),
                true,
            ),
            (Method::Jwt, "jwtSettings", jwt.is_some(), true),
        ] {
            settings(
                problems,
                (&method, self.method),
                (&format!("{at}.{field}"), is_there),
                (self.method == of, is_needed),
            );
        }
        within(x509, format!("{at}.x509Settings"), problems);
        within(
            tokens,
            format!("{at}.serviceAccountTokenSettings"),
            problems,
        );
        within(custom, format!("{at}.customSettings"), problems);
        within(password, format!("{at}.passwordSettings"), problems);
        within(jwt, format!("{at}.jwtSettings"), problems);
    }
}

impl Rules for X509Settings {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let trusted = self.trusted_client_ca_cert.as_ref();
        let at_trusted = format!("{at}.trustedClientCaCert");
        optional(trusted, at_trusted, problems, form::secret_name);
        for (name, known) in &self.authorization_attributes {
            let at = join(&format!("{at}.authorizationAttributes"), name);
            let subject = distinguished_name::check(&known.subject);
            problems.check(&format!("{at}.subject"), subject);
        }
    }
}

impl Rules for ServiceAccountTokenSettings {
    fn rules(&self, at: &str, problems: &mut Problems) {
        each_text(
            &self.audiences,
            &format!("{at}.audiences"),
            problems,
            filled,
        );
    }
}

impl Rules for CustomSettings {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let endpoint = form::url(&self.endpoint, &["https"]);
        problems.check(&format!("{at}.endpoint"), endpoint);
        let ca = self.ca_cert_config_map.as_ref();
        optional(
            ca,
            format!("{at}.caCertConfigMap"),
            problems,
            form::secret_name,
        );
        if let Some(auth) = &self.auth {
            let secret = form::secret_name(&auth.x509.secret_ref);
            problems.check(&format!("{at}.auth.x509.secretRef"), secret);
        }
        headers(&self.headers, &format!("{at}.headers"), problems);
        let secret = self.headers_secret_ref.as_ref();
        let at_secret = format!("{at}.headersSecretRef");
        optional(secret, at_secret, problems, form::secret_name);
    }
}

impl Rules for PasswordSettings {
    fn rules(&self, at: &str, problems: &mut Problems) {
        let secret = form::secret_name(&self.secret_ref);
        problems.check(&format!("{at}.secretRef"), secret);
    }
}

impl Rules for JwtSettings {
    fn rules(&self, at: &str, problems: &mut Problems) {
        problems.check(&format!("{at}.issuer"), filled(&self.issuer));
        each_text(
            &self.audiences,
            &format!("{at}.audiences"),
            problems,
            filled,
        );
        let (uri, secret) = (self.jwks_uri.as_ref(), self.jwks_secret_ref.as_ref());
        match (uri, secret) {
            (Some(_), Some(_)) => problems.rule(
                &format!("{at}.jwksSecretRef"),
                "there may be only one of jwksUri and jwksSecretRef",
            ),
            (None, None) => problems.rule(
                &format!("{at}.jwksUri"),
                "is missing: either jwksUri or jwksSecretRef says where the keys are",
            ),
            _ => {}
        }
        optional(uri, format!("{at}.jwksUri"), problems, |uri| {
            form::url(uri, &["https"])
        });
        optional(
            secret,
            format!("{at}.jwksSecretRef"),
            problems,
            form::secret_name,
        );
        let ca = self.ca_cert_config_map.as_ref();
        optional(
            ca,
            format!("{at}.caCertConfigMap"),
            problems,
            form::secret_name,
        );
        let claim = self.username_claim.as_ref();
        optional(claim, format!("{at}.usernameClaim"), problems, filled);
        let at_claims = format!("{at}.attributeClaims");
        each_text(&self.attribute_claims, &at_claims, problems, filled);
    }
}

fn filled(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(())
}
